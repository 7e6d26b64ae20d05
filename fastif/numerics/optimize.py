"""Smooth minimization by L-BFGS."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def minimize_lbfgs(
    loss: Callable[[], Tensor], params: Sequence[Tensor], *, max_iter: int, **options: Any
) -> None:
    """L-BFGS with a strong Wolfe line search (Nocedal and Wright, 2006); moves `params` in place.

    Args:
        loss: a smooth scalar function of the parameters as they are when it is called.
        params: leaf tensors that require a gradient; they hold the minimum afterwards.
        max_iter: iterations at most.
        options: further ones of `torch.optim.LBFGS`, such as tolerance_grad and history_size.

    >>> x = torch.zeros(2, requires_grad=True)
    >>> minimize_lbfgs(lambda: (x - torch.tensor([1.0, 2.0])).square().sum(), [x], max_iter=20)
    >>> x.detach().round(decimals=3)
    tensor([1., 2.])
    """
    tensors = list(params)
    optimiser = torch.optim.LBFGS(
        tensors, max_iter=max_iter, line_search_fn="strong_wolfe", **options
    )

    def closure() -> Tensor:
        for tensor in tensors:
            tensor.grad = None  # as zero_grad does, which costs as much as a small loss
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)  # type: ignore[arg-type]
