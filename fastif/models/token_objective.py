"""Objective of a Hugging Face token classifier, with a loss summed over the words."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fastif.data.examples import Batch
from fastif.errors import InputError
from fastif.losses import Loss, Measure, TokenCrossEntropy
from fastif.models.cut_check import TruncatedModel
from fastif.models.layer_split import Attributed
from fastif.models.padding import run_by_length
from fastif.models.parameters import Params
from fastif.models.transformer import TransformerObjective

SLOTS = "slots"
"""Batch key of the place of each token among the outputs of its sentence; -1 for none."""


class TokenObjective(TransformerObjective):
    """Objective of a Hugging Face token classifier (as of AutoModelForTokenClassification).

    An example is a sentence or some of its words, see `TaggedSentences`. Its outputs are the logits
    at the k labelled sub-words with c classes each, k c numbers, zero beyond the last labelled one.
    The loss is their sum (`TokenCrossEntropy`), so the effect of a sentence is the sum of those of
    its words. Padding and frozen layers are as for `TransformerObjective`.

    Args:
        model: Token classifier with eager attention. It is copied (with shared weights) and not
            changed.
        attributed: Attributed parameters, see `TransformerObjective`.
        loss: Training loss; the plain sum over the words by default.
        measure: Function of a query to explain; the plain sum in nats by default.
        penalty: L2 weight decay of training, 0 or more, see `Objective`.
        half: Whether half-precision weights stay so, instead of conversion to single precision.

    Raises:
        InputError: If the loss is another one, the model has no logits for each token, or
            `TransformerObjective` refuses it.
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
        loss, measure = loss or TokenCrossEntropy(), measure or TokenCrossEntropy()
        for name, function in (("loss", loss), ("measure", measure)):
            if not isinstance(function, TokenCrossEntropy):
                raise InputError(
                    name,
                    "TokenCrossEntropy, the loss of token classification",
                    type(function).__name__,
                    "Give TokenCrossEntropy(CrossEntropy(...)) with the settings of the training.",
                )
        super().__init__(model, attributed, loss, measure, penalty, half)

    def embed(self, batch: Batch) -> Float[Tensor, "b d"]:
        """Return the mean input of the last linear layer over the labelled sub-words."""
        prepared, captured = self._prepare(batch), dict[str, Tensor]()

        def record(_: nn.Module, args: tuple) -> None:
            captured["input"] = args[0]

        layers = [layer for layer in self.module.modules() if isinstance(layer, nn.Linear)]
        handles = [layer.register_forward_pre_hook(record) for layer in layers]

        def run(group: Batch) -> Tensor:
            self._forward(self._cut, self.params, group)
            labelled = (_get_slots(group) >= 0).to(captured["input"].dtype)
            total = (captured["input"] * labelled[:, :, None]).sum(1)
            return total / labelled.sum(1, keepdim=True).clamp_min(1)

        try:
            with torch.no_grad():
                return run_by_length(self.padding, prepared, run)
        finally:
            for handle in handles:
                handle.remove()

    def _forward(
        self, cut: TruncatedModel | None, params: Params, batch: Batch
    ) -> Float[Tensor, "b n"]:
        """Run rows that share a forward pass, and gather the logits of their labelled sub-words."""
        output = self._run_module(cut, params, batch)
        logits = getattr(output, "logits", output)
        shape = batch["input_ids"].shape
        if not torch.is_tensor(logits) or logits.dim() != 3 or logits.shape[:2] != shape:
            got = f"shape {list(logits.shape)}" if torch.is_tensor(logits) else "no logits"
            raise InputError(
                self.name,
                "logits [b t c] for every token, of a token classifier",
                f"{type(output).__name__}: {got}",
                "Load it with AutoModelForTokenClassification.",
            )
        slots = _get_slots(batch)
        return gather_slots(logits, slots, _count_slots(batch, slots))


def gather_slots(
    logits: Float[Tensor, "b t c"], slots: Int[Tensor, "b t"], count: int
) -> Float[Tensor, "b n"]:
    """Gather the logits of the tokens of each slot, [b, count·c]; zero for a slot without a token.

    Examples:
        >>> gather_slots(torch.arange(3.0)[None, :, None], torch.tensor([[-1, 1, 0]]), 3)
        tensor([[2., 1., 0.]])
    """
    width = torch.arange(slots.shape[1], device=slots.device)
    # One more slot collects the tokens without one.
    tokens = slots.new_full((len(slots), count + 1), -1)
    tokens.scatter_(1, slots.masked_fill(slots < 0, count), width.expand_as(slots))
    tokens = tokens[:, :count, None]
    gathered = logits.gather(1, tokens.clamp_min(0).expand(-1, -1, logits.shape[2]))
    return (gathered * (tokens >= 0)).flatten(1)


def _get_slots(batch: Batch) -> Int[Tensor, "b t"]:
    """Return the slots of a batch; the first and the last token of a row of random tokens."""
    if SLOTS in batch:
        return batch[SLOTS]
    mask = batch["attention_mask"] != 0
    count, place = mask.sum(1, keepdim=True), mask.cumsum(1)
    last = (place == count).long()
    return torch.where(mask & ((place == 1) | (place == count)), last, -1)


def _count_slots(batch: Batch, slots: Int[Tensor, "b t"]) -> int:
    labels = batch["labels"]
    return labels.shape[1] if SLOTS in batch and labels.dim() == 2 else 2
