"""A Hugging Face sequence classifier as an objective, cut where its frozen layers end."""

import copy
from contextlib import nullcontext
from dataclasses import replace
from weakref import WeakSet

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel

from fastif.data.examples import Batch, Examples
from fastif.errors import InputError
from fastif.losses import Loss, Measure
from fastif.models.classifier_head import capture_head_input, extract_logits
from fastif.models.cut_check import CutError, TruncatedModel, cut_frozen_layers
from fastif.models.gradient_check import check_gradient
from fastif.models.hidden_states import compute_hidden_states
from fastif.models.layer_split import Attributed, find_layer_path, select_attributed_names
from fastif.models.model_inputs import select_model_inputs
from fastif.models.objective import (
    Objective,
    check_penalty,
    frozen_copy,
    select_attributed_params,
)
from fastif.models.padding import (
    Padding,
    align_padding,
    get_padding_token,
    iterate_rows,
    run_by_length,
    select_padding,
)
from fastif.models.parameters import Params, ParamSpace, check_finite, check_floating
from fastif.models.probe_batch import make_probe_batches, select_probe_rows
from fastif.models.problem_type import select_loss
from fastif.models.single_precision import is_within_rounding, make_single_precision_copy
from fastif.models.trial import check_rows

NOT_CUT = "frozen layers are run each time"
VERIFIED_ROWS = 5
"""Rows of a table that are tried."""


class TransformerObjective(Objective):
    """A sequence classifier with its loss.

    The outputs of an example are what the model gives for it alone, without padding. Two shortcuts
    are proved against that, on a probe here and on own rows by `verify_shortcuts`; where one
    changes outputs it is not taken, and `notes` says so:

    - Rows of unlike length share a forward pass, padded by the model's own token on the side that
      changes nothing; if both sides do, only rows of equal length share one.
    - What lies below the first layer that attributed parameters reach never changes, so the model
      is cut there: `compute_prefix` runs the frozen layers once, and `outputs` of a batch that
      holds hidden states runs only the rest.

    Weights of half precision are computed with in single precision.

    Args:
        model: the classifier, with eager attention. Copied (weights shared), not changed.
        attributed: "all", "last:K", or regular expressions on parameter names.
        loss: as trained; if left out, the usual one of the model's `problem_type`, cross-entropy
            where it has none.
        measure: what is asked of a query; its loss if left out.
        penalty: the L2 weight decay it was trained with, see `Objective`.
        half: leave weights of half precision as they are.

    Attributes:
        full_model: the model.
        padding: how rows of unlike length share a forward pass.
        cut_note: why frozen layers are run each time; None if there are none, or they are not.

    Raises:
        InputError: nothing matches `attributed`, a weight is not finite or quantised, the loss is
            not one of the model's `problem_type`, the penalty is below 0, or the outputs of an
            example depend on others of its batch that are as long.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        attributed: Attributed,
        loss: Loss | None = None,
        measure: Measure | None = None,
        penalty: float = 0.0,
        half: bool = False,
    ) -> None:
        self.name = f"model {model.config._name_or_path or type(model).__name__}"
        self.full_model, self._precision = make_single_precision_copy(model, half)
        check_finite(self.full_model, self.name)
        self.loss, self.measure = select_loss(model, loss), measure
        self.penalty = check_penalty(penalty)
        names = select_attributed_names(self.full_model, attributed)
        self.params = select_attributed_params(self.full_model, names)
        check_floating(self.params, self.name)
        self.space = ParamSpace.from_params(self.params)
        self.padding, self._cut = Padding("right", get_padding_token(self.full_model)), None
        self._unused = frozen_copy(self.full_model)
        self.cut_note: str | None = None
        self._verified: WeakSet[Examples] = WeakSet()
        self._verify_on_probes()

    @property
    def module(self) -> nn.Module:  # type: ignore[override]
        """The model above the cut."""
        return self._cut.module if self._cut else self.full_model

    @property
    def num_frozen_layers(self) -> int:
        """The number of frozen layers that are run once; 0 if none are."""
        return self._cut.index if self._cut else 0

    @property
    def hidden_width(self) -> int:
        """Numbers of a token's hidden state at the cut; 0 without one."""
        return self._cut.width if self._cut else 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the model's weights, padding and cut is not as usual, a sentence each."""
        padding = {
            "right": None,
            "left": "rows are padded on the left, since padding on the right changes outputs",
            None: "only rows of equal length share a forward pass, since padding changes outputs",
        }[self.padding.side]
        return tuple(note for note in (self._precision, padding, self.cut_note) if note)

    def compute_prefix(self, batch: Batch) -> Batch:
        """The batch with its hidden states at the cut, zero at the padding, if there is a cut."""
        return batch if self._cut is None else self._prepare(batch)

    def align_padding(self, batch: Batch) -> Batch:
        return batch if "hidden" in batch else align_padding(batch, self.padding)

    def make_fresh_copy(self) -> "TransformerObjective":
        other = copy.copy(self)
        other.full_model, other._cut = frozen_copy(self._unused), None
        return other

    def outputs(self, params: Params, batch: Batch) -> Float[Tensor, "b c"]:
        return run_by_length(
            self.padding,
            self._prepare(batch),
            lambda group: self._forward(self._cut, params, group),
        )

    def embed(self, batch: Batch) -> Float[Tensor, "b d"]:
        def capture_input(group: Batch) -> Tensor:
            def call() -> Tensor:
                return self._forward(self._cut, self.params, group)

            return capture_head_input(self.module, call, self.name)

        return run_by_length(self.padding, self._prepare(batch), capture_input)

    @torch.no_grad()
    def verify_shortcuts(self, *tables: Examples) -> None:
        """Try padding and cut on a few rows of each table, and give up what changes outputs.

        Raises:
            InputError: the model cannot read a row, or its outputs depend on others of its batch.
        """
        for examples in tables:
            if examples in self._verified:
                continue
            self._verified.add(examples)
            batch = examples.take(select_probe_rows(examples, VERIFIED_ROWS))
            try:
                expected = self._run_each_row(batch)
            except Exception as error:
                raise InputError(
                    self.name,
                    "outputs for each row of the study's tables",
                    f"{type(error).__name__}: {error}".splitlines()[0],
                    "Check that tokenizer and model belong together, and [model] max_length.",
                ) from error
            self._select_padding(batch, expected)
            self._check_cut(batch, expected)

    @torch.no_grad()
    def _verify_on_probes(self) -> None:
        """Settle padding and cut on rows of random tokens."""
        for batch in make_probe_batches(self.full_model):
            try:
                expected = self._run_each_row(batch)
            except Exception:  # what a model's own code raises is not known
                continue
            self._select_padding(batch, expected)
            self._make_cut(batch)
            self._check_cut(batch, expected)
            check_gradient(
                self.name,
                self.full_model,
                self.params,
                lambda params, row: self._forward(None, params, row),
                next(iterate_rows(batch)),
            )
            return
        self.cut_note = f"{NOT_CUT}: the model cannot read a row of random tokens"

    def _prepare(self, batch: Batch) -> Batch:
        """The batch padded as the model wants it, with hidden states if there is a cut."""
        if "hidden" in batch:
            return batch
        batch = self.align_padding(batch)
        return (
            batch
            if self._cut is None
            else {
                **batch,
                "hidden": compute_hidden_states(self._cut, self.full_model, self.padding, batch),
            }
        )

    def _forward(
        self, cut: TruncatedModel | None, params: Params, batch: Batch
    ) -> Float[Tensor, "b c"]:
        """Outputs of rows that may share a forward pass, as they stand."""
        module, inputs = (
            cut.module if cut else self.full_model,
            select_model_inputs(self.full_model, batch),
        )
        with cut.inject_hidden(batch["hidden"]) if cut else nullcontext():
            output = functional_call(module, dict(params), (), inputs)
        return extract_logits(output, len(batch["input_ids"]), self.name)

    def _run_each_row(self, batch: Batch) -> Float[Tensor, "b c"]:
        """Outputs of the whole model for each row without company or padding."""
        return torch.cat([self._forward(None, self.params, row) for row in iterate_rows(batch)])

    def _select_padding(self, batch: Batch, expected: Tensor) -> None:
        """Take the first side, from the present one on, on which padding changes no outputs."""
        padding = select_padding(
            self.padding, batch, expected, lambda group: self._forward(None, self.params, group)
        )
        if padding is not None:
            self.padding = padding
            return
        self.padding = replace(self.padding, side=None)
        check_rows(self, batch)  # names the module, if it is one
        raise InputError(
            self.name,
            "outputs of a text that do not depend on others of its batch",
            "other outputs in company than alone, though all are of one length",
            "Look for batch statistics or chance in the model; evaluation mode must be without.",
        )

    def _make_cut(self, batch: Batch) -> None:
        if len(self.params) == len(dict(self.full_model.named_parameters())):
            return  # nothing is frozen
        path = find_layer_path(self.full_model)
        if path is None:
            self.cut_note = f"{NOT_CUT}: no list of layers is recognised"
            return
        inputs = select_model_inputs(self.full_model, align_padding(batch, self.padding))
        try:
            self._cut = cut_frozen_layers(self.full_model, path, self.params, inputs)
        except CutError as error:
            self.cut_note = f"{NOT_CUT}: {error}"
        except Exception as error:
            self.cut_note = f"{NOT_CUT}: {type(error).__name__}"

    def _check_cut(self, batch: Batch, reference: Tensor) -> None:
        """Give the cut up unless it changes no outputs, in company and alone."""
        if self._cut is None:
            return
        padded = ({k: t[i : i + 1] for k, t in batch.items()} for i in range(len(reference)))
        rows = [batch, *padded, *iterate_rows(batch)]
        expected = [reference, *reference.split(1), *reference.split(1)]
        if all(
            self._is_unchanged(self._cut, inputs, e)
            for inputs, e in zip(rows, expected, strict=True)
        ):
            return
        self._cut, self.cut_note = None, f"{NOT_CUT}: without them the outputs are others"

    def _is_unchanged(self, cut: TruncatedModel | None, batch: Batch, expected: Tensor) -> bool:
        try:
            prepared = align_padding(batch, self.padding)
            if cut:
                prepared = {
                    **prepared,
                    "hidden": compute_hidden_states(cut, self.full_model, self.padding, prepared),
                }
            outputs = run_by_length(
                self.padding, prepared, lambda group: self._forward(cut, self.params, group)
            )
        except Exception:
            return False  # rows of one length alone, say, or hidden states of another shape
        return is_within_rounding(outputs, expected)
