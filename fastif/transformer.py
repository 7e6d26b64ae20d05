"""A Hugging Face sequence classifier as an objective, cut where its frozen layers end."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call
from transformers import PreTrainedModel

from fastif.encoder import Attributed, attributed_names, cut_below, encoder_layers, probe, run_until
from fastif.examples import Batch
from fastif.losses import CrossEntropy, Loss, Measure
from fastif.objective import (
    Objective,
    attributed_params,
    checked_penalty,
    frozen_copy,
    last_linear_input,
)
from fastif.parameters import Params, ParamSpace, check_finite


class TransformerObjective(Objective):
    """A sequence classifier with its loss.

    Below the first layer with attributed parameters nothing ever changes, so the model is cut
    there: `prefix` runs the frozen part once, and `outputs` of a batch that holds hidden states
    runs only the rest. The cut is found generically (the encoder is the list of
    `num_hidden_layers` equal layers) and checked on a probe; a model that does not give the same
    logits cut as uncut is used uncut.

    Args:
        model: the classifier, with eager attention. Copied (weights shared), not changed.
        attributed: "all", "last:K", or regular expressions on parameter names.
        loss: as trained; plain cross-entropy if left out. Regression and multi-label heads work as
            well, with `SquaredError` and `BinaryCrossEntropy`.
        measure: what is asked of a query; its loss if left out.
        penalty: the L2 weight decay it was trained with, see `Objective`.

    Raises:
        InputError: nothing matches `attributed`, a weight is not finite, or the penalty is below 0.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        attributed: Attributed,
        loss: Loss | None = None,
        measure: Measure | None = None,
        penalty: float = 0.0,
    ) -> None:
        check_finite(model, f"model {model.config._name_or_path or type(model).__name__}")
        self.loss, self.measure = loss or CrossEntropy(), measure
        self.penalty = checked_penalty(penalty)
        self.whole = frozen_copy(model)
        names = attributed_names(model, attributed)
        self.module, self.cut = cut_below(self.whole, names)
        self.params = attributed_params(self.whole, names)
        self.space = ParamSpace.of(self.params)
        if self.cut and not self._cut_is_exact():
            self.module, self.cut = self.whole, 0

    @torch.no_grad()
    def prefix(self, batch: Batch) -> Batch:
        """The batch with its tokens replaced by hidden states at the cut, if there is one."""
        if not self.cut or "hidden" in batch:
            return batch
        hidden = run_until(self.whole, encoder_layers(self.whole)[1][self.cut], _inputs(batch))
        return {
            "hidden": hidden,
            **{k: batch[k] for k in ("attention_mask", "labels") if k in batch},
        }

    def outputs(self, params: Params, batch: Batch) -> Float[Tensor, "b c"]:
        inputs = _inputs(self.prefix(batch))
        return functional_call(self.module, dict(params), args=(), kwargs=inputs).logits

    def embed(self, batch: Batch) -> Float[Tensor, "b d"]:
        inputs = _inputs(self.prefix(batch))
        return last_linear_input(
            self.module, lambda: functional_call(self.module, dict(self.params), (), inputs)
        )

    @torch.no_grad()
    def _cut_is_exact(self) -> bool:
        texts = probe(self.whole)
        try:
            cut = self.outputs(self.params, texts)
        except (RuntimeError, TypeError, ValueError, AttributeError):
            return False
        return torch.allclose(cut, self.whole(**texts).logits, rtol=1e-4, atol=1e-5)


def _inputs(batch: Batch) -> dict[str, Tensor]:
    """A batch as keyword arguments of the model."""
    names = {"hidden": "inputs_embeds"}
    return {names.get(k, k): tensor for k, tensor in batch.items() if k != "labels"}
