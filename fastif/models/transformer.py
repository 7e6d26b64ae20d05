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
from fastif.models.classifier_head import head_input, logits_of
from fastif.models.cut_check import Cut, CutError, cut_below
from fastif.models.layer_split import Attributed, attributed_names, layer_path
from fastif.models.model_inputs import inputs_of
from fastif.models.objective import (
    Objective,
    attributed_params,
    checked_penalty,
    frozen_copy,
)
from fastif.models.padding import (
    Padding,
    by_length,
    each,
    placed,
    run_by_length,
    settled,
)
from fastif.models.parameters import Params, ParamSpace, check_finite
from fastif.models.probe_batch import probes, sample
from fastif.models.problem_type import loss_of
from fastif.models.single_precision import same_outputs, single_copy
from fastif.models.trial import check_rows

NO_TOKEN = -1
UNCUT = "frozen layers are run each time"
PROVED = 5
"""Rows of a table that are tried."""


class TransformerObjective(Objective):
    """A sequence classifier with its loss.

    The outputs of an example are what the model gives for it alone, without padding. Two shortcuts
    are proved against that, on a probe here and on own rows by `prove`; where one changes outputs
    it is not taken, and `notes` says so:

    - Rows of unlike length share a forward pass, padded by the model's own token on the side that
      changes nothing; if both sides do, only rows of equal length share one.
    - What lies below the first layer that attributed parameters reach never changes, so the model
      is cut there: `prefix` runs the frozen layers once, and `outputs` of a batch that holds
      hidden states runs only the rest.

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
        whole: the model.
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
        self.whole, self._precision = single_copy(model, half)
        check_finite(self.whole, self.name)
        self.loss, self.measure = loss_of(model, loss), measure
        self.penalty = checked_penalty(penalty)
        names = attributed_names(self.whole, attributed)
        self.params = attributed_params(self.whole, names)
        _check_floating(self.params, self.name)
        self.space = ParamSpace.of(self.params)
        self.padding, self._cut = Padding("right", _padding_token(self.whole)), None
        self._unused = frozen_copy(self.whole)
        self.cut_note: str | None = None
        self._proved: WeakSet[Examples] = WeakSet()
        self._probe()

    @property
    def module(self) -> nn.Module:  # type: ignore[override]
        """The model above the cut."""
        return self._cut.module if self._cut else self.whole

    @property
    def cut(self) -> int:
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

    def prefix(self, batch: Batch) -> Batch:
        """The batch with its hidden states at the cut, zero at the padding, if there is a cut."""
        return batch if self._cut is None else self._ready(batch)

    def placed(self, batch: Batch) -> Batch:
        return batch if "hidden" in batch else placed(batch, self.padding)

    def unused(self) -> "TransformerObjective":
        other = copy.copy(self)
        other.whole, other._cut = frozen_copy(self._unused), None
        return other

    def outputs(self, params: Params, batch: Batch) -> Float[Tensor, "b c"]:
        return run_by_length(
            self.padding, self._ready(batch), lambda part: self._run(self._cut, params, part)
        )

    def embed(self, batch: Batch) -> Float[Tensor, "b d"]:
        def given(part: Batch) -> Tensor:
            def call() -> Tensor:
                return self._run(self._cut, self.params, part)

            return head_input(self.module, call, self.name)

        return run_by_length(self.padding, self._ready(batch), given)

    @torch.no_grad()
    def prove(self, *tables: Examples) -> None:
        """Try padding and cut on a few rows of each table, and give up what changes outputs.

        Raises:
            InputError: the model cannot read a row, or its outputs depend on others of its batch.
        """
        for examples in tables:
            if examples in self._proved:
                continue
            self._proved.add(examples)
            batch = examples.take(sample(examples, PROVED))
            try:
                alone = self._alone(batch)
            except Exception as error:
                raise InputError(
                    self.name,
                    "outputs for each row of the study's tables",
                    f"{type(error).__name__}: {error}".splitlines()[0],
                    "Check that tokenizer and model belong together, and [model] max_length.",
                ) from error
            self._settle_padding(batch, alone)
            self._check_cut(batch, alone)

    @torch.no_grad()
    def _probe(self) -> None:
        """Settle padding and cut on rows of random tokens."""
        for batch in probes(self.whole):
            try:
                alone = self._alone(batch)
            except Exception:  # what a model's own code raises is not known
                continue
            self._settle_padding(batch, alone)
            self._make_cut(batch)
            self._check_cut(batch, alone)
            self._check_gradient(batch)
            return
        self.cut_note = f"{UNCUT}: the model cannot read a row of random tokens"

    def _ready(self, batch: Batch) -> Batch:
        """The batch padded as the model wants it, with hidden states if there is a cut."""
        if "hidden" in batch:
            return batch
        batch = self.placed(batch)
        return batch if self._cut is None else {**batch, "hidden": self._states(batch, self._cut)}

    @torch.no_grad()
    def _states(self, batch: Batch, cut: Cut) -> Float[Tensor, "b t d"]:
        if self.padding.side is not None:
            hidden = cut.states(self.whole, inputs_of(self.whole, batch))
            mask = batch.get("attention_mask")
            return hidden if mask is None else hidden.masked_fill(mask[..., None] == 0, 0)
        parts = [
            (places, cut.states(self.whole, inputs_of(self.whole, part)))
            for places, part in by_length(batch)
        ]
        like = parts[0][1]
        hidden = like.new_zeros(*batch["input_ids"].shape, like.shape[-1])
        for places, states in parts:
            hidden[places, : states.shape[1]] = states
        return hidden

    def _run(self, cut: Cut | None, params: Params, batch: Batch) -> Float[Tensor, "b c"]:
        """Outputs of rows that may share a forward pass, as they stand."""
        module, inputs = cut.module if cut else self.whole, inputs_of(self.whole, batch)
        with cut.given(batch["hidden"]) if cut else nullcontext():
            output = functional_call(module, dict(params), (), inputs)
        return logits_of(output, len(batch["input_ids"]), self.name)

    def _alone(self, batch: Batch) -> Float[Tensor, "b c"]:
        """Outputs of the whole model for each row without company or padding."""
        return torch.cat([self._run(None, self.params, row) for row in each(batch)])

    def _settle_padding(self, batch: Batch, alone: Tensor) -> None:
        """Take the first side, from the present one on, on which padding changes no outputs."""
        found = settled(self.padding, batch, alone, lambda part: self._run(None, self.params, part))
        if found is not None:
            self.padding = found
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
        if len(self.params) == len(dict(self.whole.named_parameters())):
            return  # nothing is frozen
        path = layer_path(self.whole)
        if path is None:
            self.cut_note = f"{UNCUT}: no list of layers is recognised"
            return
        inputs = inputs_of(self.whole, placed(batch, self.padding))
        try:
            self._cut = cut_below(self.whole, path, self.params, inputs)
        except CutError as error:
            self.cut_note = f"{UNCUT}: {error}"
        except Exception as error:
            self.cut_note = f"{UNCUT}: {type(error).__name__}"

    def _check_cut(self, batch: Batch, alone: Tensor) -> None:
        """Give the cut up unless it changes no outputs, in company and alone."""
        if self._cut is None:
            return
        padded = ({k: t[i : i + 1] for k, t in batch.items()} for i in range(len(alone)))
        rows = [batch, *padded, *each(batch)]
        expected = [alone, *alone.split(1), *alone.split(1)]
        if all(self._agrees(self._cut, one, e) for one, e in zip(rows, expected, strict=True)):
            return
        self._cut, self.cut_note = None, f"{UNCUT}: without them the outputs are others"

    @torch.enable_grad()
    def _check_gradient(self, batch: Batch) -> None:
        """Refuse a model without gradients, or with others while its frozen part takes part.

        Operations with a backward pass of their own may give none where nothing before them asks
        for one.
        """
        row = next(each(batch))
        try:
            alone, joined = (self._gradient(row, words) for words in (False, True))
        except Exception as error:
            got = f"{type(error).__name__}: {error}".splitlines()[0]
        else:
            if same_outputs(alone, joined):
                return
            got = "others when no gradient is asked of the frozen layers"
        raise InputError(
            self.name,
            "gradients of the outputs in the attributed parameters, in evaluation mode",
            got,
            "Take another model: its own operations hide parameters from the gradient.",
        )

    def _gradient(self, row: Batch, words: bool) -> Tensor:
        """Of a row's outputs in the attributed parameters, and in the embedded words beside."""
        leaves = {name: p.detach().requires_grad_() for name, p in self.params.items()}
        wanted = list(leaves.values())
        table = next((m for m in self.whole.modules() if isinstance(m, nn.Embedding)), None)

        def note(_: nn.Module, args: tuple, output: Tensor) -> Tensor:
            wanted.append(torch.zeros_like(output).requires_grad_())
            return output + wanted[-1]

        handle = table.register_forward_hook(note) if words and table is not None else None
        try:
            total = self._run(None, leaves, row).sum()
        finally:
            if handle is not None:
                handle.remove()
        if not total.requires_grad:
            return total.new_zeros(self.space.size)
        found = torch.autograd.grad(total, wanted, materialize_grads=True)
        return torch.cat([one.flatten() for one in found[: len(leaves)]])

    def _agrees(self, cut: Cut | None, batch: Batch, alone: Tensor) -> bool:
        try:
            ready = placed(batch, self.padding)
            if cut:
                ready = {**ready, "hidden": self._states(ready, cut)}
            found = run_by_length(
                self.padding, ready, lambda part: self._run(cut, self.params, part)
            )
        except Exception:
            return False  # rows of one length alone, say, or hidden states of another shape
        return same_outputs(found, alone)


def _check_floating(params: Params, where: str) -> None:
    whole = [name for name, one in params.items() if not one.is_floating_point()]
    if whole:
        raise InputError(
            where,
            "attributed parameters of floating point",
            f"{len(whole)} of whole numbers, such as {whole[0]}",
            "Load it without quantisation, or attribute other parameters.",
        )


def _padding_token(model: PreTrainedModel) -> int:
    """The model's own; -1 if it has none, and then it takes no token for padding."""
    config = model.config.get_text_config()
    if getattr(config, "pad_token_id", None) is None:
        config.pad_token_id = NO_TOKEN
    return config.pad_token_id
