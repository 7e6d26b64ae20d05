"""Fused attention on a GPU, where outputs and gradients of a model stay the same.

Models are loaded with plain attention, which every derivative passes through. Fused attention
(scaled dot product attention of torch) holds no matrix of positions x positions, and has no second
derivative: passes that need one compute it in the plain way within `sdpa_kernel(SDPBackend.MATH)`.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from fastif.data.examples import Batch
from fastif.models.objective import Objective
from fastif.models.parameters import make_leaf_params
from fastif.models.saved_parts import quiet_loading
from fastif.models.single_precision import is_within_rounding

PLAIN, FUSED = "eager", "sdpa"
"""Names of the two in transformers."""


def is_faster_fused(device: torch.device) -> bool:
    """Whether fused attention saves time on a device; on the CPU it does so for long rows only."""
    return device.type == "cuda"


def fuse_attention(objective: Objective, models: Sequence[PreTrainedModel], batch: Batch) -> bool:
    """Fuse the attention of models on a GPU, and return whether it is fused.

    It is not if outputs or gradients differ from those of plain attention, the model has no fused
    one, or it was loaded with another.

    Args:
        objective: Objective of the first model, without hidden states.
        models: Copies of the model.
        batch: Rows of different lengths to compare.
    """
    if not is_faster_fused(objective.like.device):
        return False
    if models[0].config._attn_implementation != PLAIN:
        return False
    with quiet_loading():
        try:
            expected = _compute_outputs_and_gradient(objective, batch)
            _set_attention(models, FUSED)
            fused = _compute_outputs_and_gradient(objective, batch)
            if all(map(is_within_rounding, fused, expected)):
                return models[0].config._attn_implementation == FUSED
        except Exception:  # the code of a model may raise anything
            pass
        _set_attention(models, PLAIN)
    return False


def _set_attention(models: Sequence[PreTrainedModel], name: str) -> None:
    for model in models:
        if model.config._attn_implementation != name:
            model.set_attn_implementation(name)


@torch.enable_grad()
def _compute_outputs_and_gradient(
    objective: Objective, batch: Batch
) -> tuple[Float[Tensor, "b c"], Float[Tensor, "1 p"]]:
    """Return the outputs, and the gradient of a random combination of them."""
    leaves = make_leaf_params(objective.params)
    outputs = objective.outputs(leaves, batch)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(outputs.shape, generator=generator).to(outputs)
    gradients = torch.autograd.grad(
        outputs, tuple(leaves.values()), weights, allow_unused=True, materialize_grads=True
    )
    flat = [t.to_dense().flatten() if t.is_sparse else t.flatten() for t in gradients]
    return outputs.detach(), torch.cat(flat)[None]
