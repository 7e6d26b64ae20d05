"""The paper's way: one query at a time, one example at a time, through the whole model.

FastIF (Guo, Rajani, Hase, Bansal and Xiong, EMNLP 2021), written plainly from its description for
any Hugging Face classifier. This is what we are measured against: nothing of the library is used,
and no example is batched, cached or shared between queries. Where the paper's code spends time that
its result does not need, we do not, so that the comparison errs in its favour: first-order
gradients keep no graph for a second derivative, and texts are not padded. Its L2 penalty is left
out of all losses, so that both sides differentiate the same function.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Example = Mapping[str, Tensor]
"""Keyword arguments of the model for a batch of one, and its "labels"."""

Pieces = tuple[Tensor, ...]
"""One tensor for each attributed parameter."""


@dataclass(frozen=True)
class Setting:
    """LiSSA's hyper-parameters, as published for models trained on MultiNLI; B = 1 throughout.

    Attributes:
        damp: enters the recursion as it is; the effective damping is `damp * scale`.
        scale: divides the curvature so that the series converges.
        depth: J, steps of the recursion.
        repeats: T, independent recursions that are averaged.
    """

    damp: float = 5e-3
    scale: float = 1e4
    depth: int = 1000
    repeats: int = 1

    @property
    def damping(self) -> float:
        """λ of the (H + λI)⁻¹ that the recursion tends to."""
        return self.damp * self.scale


def attribute(model: nn.Module, names: Sequence[str]) -> list[nn.Parameter]:
    """Let only the named parameters require gradients, as the paper freezes its lower layers."""
    model.eval().requires_grad_(False)
    parameters = dict(model.named_parameters())
    return [parameters[name].requires_grad_() for name in names]


def loss(model: nn.Module, example: Example) -> Tensor:
    """The cross-entropy of one example."""
    inputs = {name: tensor for name, tensor in example.items() if name != "labels"}
    return F.cross_entropy(model(**inputs).logits, example["labels"])


def gradient(
    model: nn.Module, params: Sequence[Tensor], example: Example, graph: bool = False
) -> Pieces:
    """∇L of one example."""
    return torch.autograd.grad(
        loss(model, example), params, create_graph=graph, materialize_grads=True
    )


def hessian_vector(
    model: nn.Module, params: Sequence[Tensor], example: Example, vector: Pieces
) -> Pieces:
    """∇²L of one example times a vector: the gradient of ∇L · vector (reverse over reverse)."""
    first = gradient(model, params, example, graph=True)
    return torch.autograd.grad(inner(first, vector), params, materialize_grads=True)


def s_test(
    model: nn.Module,
    params: Sequence[Tensor],
    query: Example,
    draws: Iterator[Example],
    setting: Setting = Setting(),
) -> Pieces:
    """LiSSA: e ← v + (1 - damp) e - ∇²L(drawn example) e / scale, J times, starting at e = v.

    With v = ∇L(query), e / scale tends to (H + λI)⁻¹ v, λ = damp · scale. The mean of T repeats.
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
    """1/n · s_test · ∇L(candidate), by a backward pass of its own; n = `count` training examples.

    The paper's score is -s_test · ∇L(candidate): negative = helpful. Ours has the other sign.
    """
    influence = -inner(solved, gradient(model, params, candidate))
    return -float(influence) / count


def inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """The inner product of two vectors that are held in pieces."""
    return torch.stack([(a * b).sum() for a, b in zip(left, right, strict=True)]).sum()


def row(pieces: Sequence[Tensor]) -> Tensor:
    """The pieces as one row of p numbers."""
    return torch.cat([piece.detach().flatten() for piece in pieces])


def pieces(flat: Tensor, params: Sequence[Tensor]) -> Pieces:
    """The row as one tensor for each parameter."""
    parts = flat.split([param.numel() for param in params])
    return tuple(part.view_as(param) for part, param in zip(parts, params, strict=True))


def shuffled(examples: Sequence[Example], seed: int) -> Iterator[Example]:
    """The examples in a random order, again and again, as a shuffling data loader gives them."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        for index in torch.randperm(len(examples), generator=generator).tolist():
            yield examples[index]
