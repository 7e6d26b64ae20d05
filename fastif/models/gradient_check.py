"""Check that a model has gradients in the attributed parameters while frozen layers have none."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fastif.data.examples import Batch
from fastif.errors import InputError
from fastif.models.parameters import Params
from fastif.models.single_precision import is_within_rounding

Forward = Callable[[Params, Batch], Float[Tensor, "b c"]]
"""Function from parameters and a batch to the outputs."""


@torch.enable_grad()
def check_gradient(
    name: str, model: nn.Module, params: Params, forward: Forward, row: Batch
) -> None:
    """Refuse a model without gradients, or with gradients that depend on frozen layers' gradients.

    A custom autograd function may return no gradient if its input needs none.

    Args:
        name: Name of the model for the error message.
        model: Model with the embedding.
        params: Attributed parameters.
        forward: Function that runs the model.
        row: Batch of one example.

    Raises:
        InputError: If there are no gradients, or they differ.
    """
    try:
        params_only, with_frozen = (
            _compute_gradient(model, params, forward, row, with_embeddings)
            for with_embeddings in (False, True)
        )
    except Exception as error:
        got = f"{type(error).__name__}: {error}".splitlines()[0]
    else:
        if is_within_rounding(params_only, with_frozen):
            return
        got = "other gradients if the frozen layers need none"
    raise InputError(
        name,
        "gradients of the outputs in the attributed parameters, in evaluation mode",
        got,
        "Use another model: custom operations of this one hide parameters from autograd.",
    )


def _compute_gradient(
    model: nn.Module, params: Params, forward: Forward, row: Batch, with_embeddings: bool
) -> Tensor:
    """Return the gradient of a row's outputs in the parameters, with or without embeddings."""
    leaves = {name: p.detach().requires_grad_() for name, p in params.items()}
    inputs = list(leaves.values())
    embedding = next((m for m in model.modules() if isinstance(m, nn.Embedding)), None)

    def add_perturbation(_: nn.Module, args: tuple, output: Tensor) -> Tensor:
        inputs.append(torch.zeros_like(output).requires_grad_())
        return output + inputs[-1]

    handle = (
        embedding.register_forward_hook(add_perturbation)
        if with_embeddings and embedding is not None
        else None
    )
    try:
        total = forward(leaves, row).sum()
    finally:
        if handle is not None:
            handle.remove()
    if not total.requires_grad:
        return total.new_zeros(sum(p.numel() for p in params.values()))
    grads = torch.autograd.grad(total, inputs, materialize_grads=True)
    return torch.cat([grad.flatten() for grad in grads[: len(leaves)]])
