"""Minimization of smooth functions by L-BFGS."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def minimize_lbfgs(
    loss: Callable[[], Tensor], params: Sequence[Tensor], *, max_iter: int, **options: Any
) -> None:
    """Minimize by L-BFGS with a strong Wolfe line search (Nocedal and Wright, 2006), in place.

    Args:
        loss: Smooth scalar function of the parameters' present values.
        params: Leaf tensors that require a gradient; they hold the minimum afterwards.
        max_iter: Largest number of iterations.
        options: Further options of `torch.optim.LBFGS`, such as tolerance_grad and history_size.

    Examples:
        >>> x = torch.zeros(2, requires_grad=True)
        >>> minimize_lbfgs(lambda: (x - torch.tensor([1.0, 2.0])).square().sum(), [x], max_iter=20)
        >>> x.detach().round(decimals=3)
        tensor([1., 2.])
    """
    tensors = list(params)

    def compute_gradients() -> tuple[Tensor, Sequence[Tensor]]:
        for tensor in tensors:
            tensor.grad = None  # as zero_grad does, which costs as much as a small loss
        value = loss()
        value.backward()
        return value, [torch.zeros_like(t) if t.grad is None else t.grad for t in tensors]

    minimize_lbfgs_by_gradient(compute_gradients, tensors, max_iter=max_iter, **options)


def minimize_lbfgs_by_gradient(
    compute_gradients: Callable[[], tuple[Tensor, Sequence[Tensor]]],
    params: Sequence[Tensor],
    *,
    max_iter: int,
    **options: Any,
) -> None:
    """Minimize as `minimize_lbfgs` does, with given gradients instead of autograd.

    Args:
        compute_gradients: Value of the function, and its gradient with respect to each parameter.
        params: Leaf tensors; they hold the minimum afterwards.
        max_iter: Largest number of iterations.
        options: Further options of `torch.optim.LBFGS`.

    Examples:
        >>> x = torch.zeros(2)
        >>> minimize_lbfgs_by_gradient(
        ...     lambda: ((x - 1).square().sum(), [2 * (x - 1)]), [x], max_iter=20
        ... )
        >>> x
        tensor([1., 1.])
    """
    tensors = list(params)
    optimiser = torch.optim.LBFGS(
        tensors, max_iter=max_iter, line_search_fn="strong_wolfe", **options
    )

    def closure() -> Tensor:
        value, gradients = compute_gradients()
        for tensor, gradient in zip(tensors, gradients, strict=True):
            tensor.grad = gradient
        return value

    optimiser.step(closure)  # type: ignore[arg-type]
