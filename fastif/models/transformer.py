"""Objective of a Hugging Face sequence classifier, with its frozen layers computed once."""

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
from fastif.data.tokenized_text import Side
from fastif.losses import Loss, Measure
from fastif.models.adapter import unwrap_adapter
from fastif.models.attention_masks import install_mask_decisions
from fastif.models.classifier_head import capture_head_input, extract_logits
from fastif.models.cut_check import CutError, TruncatedModel, cut_frozen_layers
from fastif.models.fused_attention import fuse_attention
from fastif.models.gradient_check import check_gradient
from fastif.models.hidden_states import compute_hidden_states
from fastif.models.layer_split import Attributed, select_attributed_names
from fastif.models.model_inputs import select_model_inputs
from fastif.models.objective import (
    Objective,
    check_penalty,
    frozen_copy,
    select_attributed_params,
)
from fastif.models.padding import (
    TOKENIZER_NOTE,
    Padding,
    align_padding,
    get_padding_token,
    iterate_rows,
    run_by_length,
    select_padding,
)
from fastif.models.parameters import Params, ParamSpace, check_finite, check_floating
from fastif.models.probe_batch import (
    make_dependence_error,
    make_probe_batches,
    make_unreadable_error,
    select_probe_rows,
)
from fastif.models.problem_type import select_loss
from fastif.models.single_precision import is_within_rounding, make_single_precision_copy
from fastif.models.trial import check_rows

NOT_CUT = "frozen layers are run each time"
VERIFIED_ROWS = 5
"""Number of rows of a table that are tried."""


class TransformerObjective(Objective):
    """Objective of a Hugging Face sequence classifier (`AutoModelForSequenceClassification`).

    The outputs of an example are those of the model for this example alone, without padding. Two
    optimisations are tested against that, on random tokens here and on rows of the tables by
    `verify_shortcuts`. One that changes outputs is not used, and `notes` reports it:

    - Padding: rows of different lengths share a forward pass, padded with the model's own token on
      the side that changes no outputs. If both sides do, only rows of equal length share one.
    - Frozen layers: layers below the first one that depends on attributed parameters have constant
      outputs. `compute_prefix` runs them once, and `outputs` of a batch with hidden states runs
      only the layers above.

    Args:
        model: Classifier with eager attention, which is fused on a GPU. It is copied (with shared
            weights) and not changed.
        attributed: Attributed parameters: "all", "last:K" (the last K encoder layers and the head),
            "adapter" (those of a LoRA adapter), or regular expressions on their names.
        loss: Training loss; None for the usual one of the model's `problem_type`.
        measure: Function of a query to explain; None for its loss.
        penalty: L2 weight decay of training, 0 or more, see `Objective`.
        half: Whether half-precision weights stay so, instead of conversion to single precision.

    Attributes:
        full_model: Copy of the model, with all layers.
        padding: Padding with which rows of different lengths share a forward pass.
        cut_note: Reason why frozen layers run each time; None if they do not or there are none.
        tokenizer_note: Note that the tokenizer's padding changes outputs; None if it does not.

    Raises:
        InputError: If nothing matches `attributed`, a weight is not finite or is quantised, the
            loss does not fit the `problem_type`, or outputs depend on other examples of equal
            length.

    Examples:
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> size = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
        >>> model = BertForSequenceClassification(BertConfig(num_hidden_layers=3, **size))
        >>> TransformerObjective(model, "last:1").num_frozen_layers
        2
    """

    def __init__(
        self,
        model: nn.Module,
        attributed: Attributed,
        loss: Loss | None = None,
        measure: Measure | None = None,
        penalty: float = 0.0,
        half: bool = False,
    ) -> None:
        install_mask_decisions()
        classifier = unwrap_adapter(model)
        self.name = f"model {classifier.config._name_or_path or type(classifier).__name__}"
        self.full_model: PreTrainedModel
        self.full_model, self._precision = make_single_precision_copy(classifier, half)  # type: ignore[override]
        check_finite(self.full_model, self.name)
        self.loss, self.measure = select_loss(classifier, loss), measure
        self.penalty = check_penalty(penalty)
        names = select_attributed_names(self.full_model, attributed)
        self.params = select_attributed_params(self.full_model, names)
        check_floating(self.params, self.name)
        self.space = ParamSpace.from_params(self.params)
        self.padding, self._cut = Padding("right", get_padding_token(self.full_model)), None
        self._unused = frozen_copy(self.full_model)
        self.cut_note: str | None = None
        self.tokenizer_note: str | None = None
        self._verified: WeakSet[Examples] = WeakSet()
        self._verify_on_probes()

    @property
    def module(self) -> nn.Module:  # type: ignore[override]
        """Model above the frozen layers."""
        return self._cut.module if self._cut else self.full_model

    @property
    def num_frozen_layers(self) -> int:
        return self._cut.index if self._cut else 0

    @property
    def hidden_width(self) -> int:
        return self._cut.width if self._cut else 0

    @property
    def padding_side(self) -> Side | None:
        return self.padding.side

    @property
    def notes(self) -> tuple[str, ...]:
        notes = (self._precision, self.padding.note, self.tokenizer_note, self.cut_note)
        return tuple(filter(None, notes))

    def compute_prefix(self, batch: Batch) -> Batch:
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
            return capture_head_input(
                self.module, lambda: self._forward(self._cut, self.params, group), self.name
            )

        return run_by_length(self.padding, self._prepare(batch), capture_input)

    @torch.no_grad()
    def verify_shortcuts(self, *tables: Examples) -> None:
        """Test padding and frozen layers on a few rows of each table, and undo what fails.

        Raises:
            InputError: If the model cannot read a row, or its outputs depend on other rows of a
                batch.
        """
        for examples in tables:
            if examples in self._verified:
                continue
            self._verified.add(examples)
            batch = examples.take(select_probe_rows(examples, VERIFIED_ROWS))
            try:
                expected = self._run_each_row(batch)
            except Exception as error:
                raise make_unreadable_error(self.name, error) from error
            self._select_padding(batch, expected)
            self._check_cut(batch, expected)

    @torch.no_grad()
    def compare_tokenizer_padding(self, examples: Examples) -> None:
        """Note if batches padded by the tokenizer have other outputs than their texts alone."""
        batch = examples.take(select_probe_rows(examples, VERIFIED_ROWS))
        try:
            outputs = self._forward(None, self.params, batch)
        except Exception:  # a training with such batches is not possible
            return
        if self.padding.side and not is_within_rounding(outputs, self._run_each_row(batch)):
            self.tokenizer_note = TOKENIZER_NOTE

    @torch.no_grad()
    def _verify_on_probes(self) -> None:
        """Test padding and frozen layers on rows of random tokens."""
        for batch in make_probe_batches(self.full_model):
            try:
                expected = self._run_each_row(batch)
            except Exception:  # the code of a model may raise anything
                continue
            self._select_padding(batch, expected)
            fuse_attention(self, (self.full_model, self._unused), batch)
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
        """Return the batch with the model's padding, and hidden states if it is truncated."""
        if "hidden" in batch:
            return batch
        return self._add_hidden(self._cut, self.align_padding(batch))

    def _add_hidden(self, cut: TruncatedModel | None, batch: Batch) -> Batch:
        if cut is None:
            return batch
        return {**batch, "hidden": compute_hidden_states(cut, self.full_model, self.padding, batch)}

    def _forward(
        self, cut: TruncatedModel | None, params: Params, batch: Batch
    ) -> Float[Tensor, "b c"]:
        """Run rows that share a forward pass, with the padding that they have."""
        output = self._run_module(cut, params, batch)
        return extract_logits(output, len(batch["input_ids"]), self.name)

    def _run_module(self, cut: TruncatedModel | None, params: Params, batch: Batch) -> object:
        inputs = select_model_inputs(self.full_model, batch)
        with cut.inject_hidden(batch["hidden"]) if cut else nullcontext():
            return functional_call(cut.module if cut else self.full_model, dict(params), (), inputs)

    def _run_each_row(self, batch: Batch) -> Float[Tensor, "b c"]:
        """Return the full model's outputs for each row alone, without padding."""
        return torch.cat([self._forward(None, self.params, row) for row in iterate_rows(batch)])

    def _select_padding(self, batch: Batch, expected: Tensor) -> None:
        """Select the first side, from the present one on, on which padding changes no outputs."""
        padding = select_padding(
            self.padding, batch, expected, lambda group: self._forward(None, self.params, group)
        )
        if padding is not None:
            self.padding = padding
            return
        self.padding = replace(self.padding, side=None)
        check_rows(self, batch)  # the error names the module, if there is one
        raise make_dependence_error(self.name)

    def _make_cut(self, batch: Batch) -> None:
        if len(self.params) == len(dict(self.full_model.named_parameters())):
            return  # nothing is frozen
        inputs = select_model_inputs(self.full_model, align_padding(batch, self.padding))
        try:
            self._cut = cut_frozen_layers(self.full_model, self.params, inputs)
        except CutError as error:
            self.cut_note = f"{NOT_CUT}: {error}"
        except Exception as error:
            self.cut_note = f"{NOT_CUT}: {type(error).__name__}"

    def _check_cut(self, batch: Batch, reference: Tensor) -> None:
        """Undo the truncation if it changes outputs of rows together or alone."""
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
            prepared = self._add_hidden(cut, align_padding(batch, self.padding))
            outputs = run_by_length(
                self.padding, prepared, lambda group: self._forward(cut, self.params, group)
            )
        except Exception:
            return False  # for example, hidden states of another shape
        return is_within_rounding(outputs, expected)
