"""The published method FastIF (Guo, Rajani, Hase, Bansal and Xiong, EMNLP 2021), as a baseline.

Written from its description for any Hugging Face classifier. One query and one example at a time
pass through the whole model: nothing of the library is used, and no example is batched, cached or
shared between queries. Time that the published code spends without need is saved, so that the
comparison errs in its favour: first-order gradients keep no graph for a second derivative, and
texts are not padded. The L2 penalty is left out of all losses, so that both sides differentiate
an equal function.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Example = Mapping[str, Tensor]
"""Keyword arguments of the model for a batch of one, with its "labels"."""

Pieces = tuple[Tensor, ...]
"""One tensor for each attributed parameter."""


@dataclass(frozen=True)
class Setting:
    """Hyper-parameters of LiSSA as published for MultiNLI, with batch size B = 1.

    Attributes:
        damp: Damping term of the recursion; the effective damping is `damp * scale`.
        scale: Divisor of the curvature, so that the series converges.
        depth: Number J of steps of the recursion.
        repeats: Number T of independent recursions that are averaged.
    """

    damp: float = 5e-3
    scale: float = 1e4
    depth: int = 1000
    repeats: int = 1

    @property
    def damping(self) -> float:
        """Effective damping λ: the recursion converges to (H + λI)⁻¹ v."""
        return self.damp * self.scale


def attribute(model: nn.Module, names: Sequence[str]) -> list[nn.Parameter]:
    """Freeze all but the named parameters, and return these."""
    model.eval().requires_grad_(False)
    parameters = dict(model.named_parameters())
    return [parameters[name].requires_grad_() for name in names]


def loss(model: nn.Module, example: Example) -> Tensor:
    """Return the cross-entropy of one example."""
    inputs = {name: tensor for name, tensor in example.items() if name != "labels"}
    return F.cross_entropy(model(**inputs).logits, example["labels"])


def gradient(
    model: nn.Module, params: Sequence[Tensor], example: Example, graph: bool = False
) -> Pieces:
    """Return the gradient ∇L of one example."""
    return torch.autograd.grad(
        loss(model, example), params, create_graph=graph, materialize_grads=True
    )


def hessian_vector(
    model: nn.Module, params: Sequence[Tensor], example: Example, vector: Pieces
) -> Pieces:
    """Return the Hessian-vector product ∇²L v of one example, by reverse over reverse mode."""
    first = gradient(model, params, example, graph=True)
    return torch.autograd.grad(inner(first, vector), params, materialize_grads=True)


def s_test(
    model: nn.Module,
    params: Sequence[Tensor],
    query: Example,
    draws: Iterator[Example],
    setting: Setting = Setting(),
) -> Pieces:
    """LiSSA: e ← v + (1 - damp) e - ∇²L(sampled example) e / scale, J times from e = v.

    With v = ∇L(query), e / scale converges to (H + λI)⁻¹ v, λ = damp · scale. Returns the mean of
    T repeats.
    """
    v = gradient(model, params, query)
    total = [torch.zeros_like(piece) for piece in v]
    for _ in range(setting.repeats):
        estimate = v
        for _ in range(setting.depth):
            product = hessian_vector(model, params, next(draws), estimate)
            estimate = tuple(
                component + (1 - setting.damp) * old - new / setting.scale
                for component, old, new in zip(v, estimate, product, strict=True)
            )
        for mean, piece in zip(total, estimate, strict=True):
            mean += piece / setting.scale / setting.repeats
    return tuple(total)


def removal_effect(
    model: nn.Module, params: Sequence[Tensor], solved: Pieces, candidate: Example, count: int
) -> float:
    """Return 1/n · s_test · ∇L(candidate) by a separate backward pass; n = `count`.

    The score of the paper is -s_test · ∇L(candidate), negative if helpful. Removal effects have
    the opposite sign.
    """
    influence = -inner(solved, gradient(model, params, candidate))
    return -float(influence) / count


def inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Return the inner product of two vectors, each a tensor for each parameter."""
    return torch.stack([(a * b).sum() for a, b in zip(left, right, strict=True)]).sum()


def row(pieces: Sequence[Tensor]) -> Tensor:
    """Return the tensors as one vector of p numbers."""
    return torch.cat([piece.detach().flatten() for piece in pieces])


def pieces(flat: Tensor, params: Sequence[Tensor]) -> Pieces:
    """Return the vector as one tensor for each parameter."""
    parts = flat.split([param.numel() for param in params])
    return tuple(part.view_as(param) for part, param in zip(parts, params, strict=True))


def shuffled(examples: Sequence[Example], seed: int) -> Iterator[Example]:
    """Yield the examples in random order, epoch after epoch, like a shuffling data loader."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        for index in torch.randperm(len(examples), generator=generator).tolist():
            yield examples[index]
