"""Linear systems for the tests of solvers: as the library sees them, and as dense matrices."""

from functools import cached_property

import reference
import torch
from cases import case
from torch import Tensor

from fastif import CrossEntropy, GaussNewton, ModuleObjective, SquaredError, TensorExamples
from fastif.curvature import DampedOperator, DenseOperator, LinearOperator

DAMPING = 0.1


class Whole(GaussNewton):
    """A Gauss-Newton matrix whose sample is all of it, to take the chance out of LiSSA."""

    @cached_property
    def dense_operator(self) -> DenseOperator:
        return DenseOperator(self.to_dense())

    def sample(self, generator: torch.Generator, size: int) -> DenseOperator:
        return self.dense_operator


class Mean(LinearOperator):
    """The mean of matrices, of which a sample takes some with replacement: no model behind it."""

    def __init__(self, matrices: Tensor) -> None:
        self.matrices, self.mean = matrices, DenseOperator(matrices.mean(0))

    @property
    def size(self) -> int:
        return self.mean.size

    @property
    def like(self) -> Tensor:
        return self.mean.like

    def apply(self, vectors: Tensor) -> Tensor:
        return self.mean.apply(vectors)

    def sample(self, generator: torch.Generator, size: int) -> DenseOperator:
        picked = torch.randint(len(self.matrices), (size,), generator=generator)
        return DenseOperator(self.matrices[picked].mean(0))


def problem(name: str = "mlp", damping: float = DAMPING) -> tuple[DampedOperator, Tensor]:
    """The damped Gauss-Newton matrix of a case, and the same dense."""
    made = case(name, batch_size=4)
    operator = Whole(made.objective, made.train).with_damping(damping)
    return operator, add_damping(reference.gauss_newton(made.problem), damping)


def classifier(classes: int) -> tuple[ModuleObjective, TensorExamples, reference.Problem]:
    """A small network of this many classes; 1: regression. 11 examples."""
    generator = torch.Generator().manual_seed(classes)
    torch.manual_seed(classes)
    module = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, classes)
    ).double()
    inputs = torch.randn(11, 3, generator=generator, dtype=torch.float64)
    if classes == 1:
        loss, truth = SquaredError(), reference.squared_error
        labels = torch.randn(11, 1, generator=generator, dtype=torch.float64)
    else:
        loss, truth = CrossEntropy(), reference.cross_entropy
        labels = torch.randint(classes, (11,), generator=generator)
    names = [name for name, _ in module.named_parameters()]
    dense = reference.Problem(module, names, list(inputs.split(1)), list(labels.split(1)), truth)
    return ModuleObjective(module, loss), TensorExamples(inputs, labels), dense


def add_damping(matrix: Tensor, damping: float) -> Tensor:
    return matrix + damping * torch.eye(matrix.shape[-1], dtype=matrix.dtype)


def random_rows(size: int, count: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator, dtype=torch.float64)


def residuals(matrix: Tensor, value: Tensor, rhs: Tensor) -> Tensor:
    return torch.stack(
        [(b - matrix @ x).norm() / b.norm() for x, b in zip(value, rhs, strict=True)]
    )
