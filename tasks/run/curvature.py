"""Curvature of a study: its rows and its damping."""

import torch

import fastif
from fastif.curvature import DampedOperator
from tasks.run.context import RunContext
from tasks.run.hidden_states import get_train_examples


def make_operator(context: RunContext) -> DampedOperator:
    """Return the damped curvature of the run, cached."""
    damping = context.damping
    return context.memo.get(
        ("operator", damping),
        lambda: make_curvature(context, get_train_examples(context), damping),
    )


def make_curvature(context: RunContext, train: fastif.Examples, damping: float) -> DampedOperator:
    """Return the curvature of the study over rows of `train`, with effective damping λ."""
    if context.study.curvature.kind == "gauss-newton":
        return DampedOperator(make_gauss_newton(context, train), damping)
    ids = _sample_curvature_rows(context, train)
    return DampedOperator(fastif.Hessian(context.objective, train, ids), damping)


def make_gauss_newton(context: RunContext, train: fastif.Examples) -> fastif.GaussNewton:
    """Return the Gauss-Newton matrix over the curvature's rows."""
    return fastif.GaussNewton(context.objective, train, _sample_curvature_rows(context, train))


def sample_rows(count: int, rows: int | None, seed: int) -> torch.Tensor:
    """Return the sorted positions of all rows, or of a random sample of `rows` of them."""
    if rows is None or rows >= count:
        return torch.arange(count)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(count, generator=generator)[:rows].sort().values


def _sample_curvature_rows(context: RunContext, train: fastif.Examples) -> torch.Tensor:
    curvature = context.study.curvature
    return sample_rows(len(train), curvature.sample_size, curvature.seed)
