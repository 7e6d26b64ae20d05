"""What a run should have stored, of all that it may have drawn by chance the nearest."""

import itertools
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from tests.fuzz import ekfac
from tests.fuzz.case import Case
from tests.fuzz.stored import Stored
from tests.fuzz.truth import Truth


@dataclass(frozen=True, eq=False)
class Expected:
    """True effects, and how far the run may be from them.

    Attributes:
        effects: [members q n].
        reach: [q n], see `Truth.answers`.
        residuals: of its solutions on the dense matrix, [q]; None where the solution is exact.
        indefinite: whether the matrix has a negative eigenvalue.
    """

    effects: Tensor
    reach: Tensor
    residuals: Tensor | None = None
    indefinite: bool = False

    @property
    def mean(self) -> Tensor:
        """[q n]."""
        return self.effects.mean(0)


def find_nearest(case: Case, truth: Truth, actual: Stored) -> Expected:
    """What is true for the curvature's rows; of those samples that they can be, the nearest."""
    count = len(truth.curved_rows)
    leverage = has_leverage(actual)
    samples = [tuple(range(count))]
    if case.curvature_rows is not None and case.curvature_rows < count:
        samples = list(itertools.combinations(range(count), case.curvature_rows))
    # Where rows of unlike length do not share a batch, EK-FAC may take a layer as it is.
    blocks = (
        (False, True)
        if case.solver["kind"] == "spectral" and _is_unaffected_by_padding(case)
        else (False,)
    )
    candidates = [
        _expected(case, truth, list(ids), leverage, dense) for ids in samples for dense in blocks
    ]
    return min(
        candidates,
        key=lambda candidate: float(compare_scores(actual, candidate)["error"].max() or 0.0),
    )


def _is_unaffected_by_padding(case: Case) -> bool:
    """Whether the model has no padding that it passes over."""
    return case.family == "fnet" or case.padding is None


def has_leverage(actual: Stored) -> bool:
    """Whether the run says that the curvature of a row goes with it."""
    return bool((actual.solves["leverage"] == "on").any())


def _expected(case: Case, truth: Truth, ids: list[int], leverage: bool, dense: bool) -> Expected:
    matrices = truth.matrices(ids)
    exact, reaches = truth.answers(matrices, leverage)
    reach = reaches.mean(0)
    if case.solver["kind"] != "spectral":
        indefinite = case.hessian and truth.least_eigenvalue(matrices) < 0
        return Expected(exact, reach, None, indefinite)
    rows = [truth.curved_rows[place] for place in ids]
    effects, residuals = [], []
    for member, left, right, matrix in zip(
        truth.members, truth.left, truth.training_vectors(matrices, leverage), matrices, strict=True
    ):
        solved = ekfac.solutions(member, rows, truth.loss, left, truth.damping, dense)
        effects.append(solved @ right.T / len(right))
        residuals.append((left - solved @ matrix).norm(dim=1) / left.norm(dim=1))
    return Expected(torch.stack(effects), reach, torch.stack(residuals).amax(0))


def compare_scores(actual: Stored, expected: Expected) -> pl.DataFrame:
    """The scores with their error, and what the residual allows."""
    if actual.scores.is_empty():
        return actual.scores.with_columns(error=pl.lit(0.0), converged=pl.lit(True))
    query, train = (torch.tensor(actual.scores[key].to_list()) for key in ("query", "train"))
    cells = actual.scores.join(
        actual.solves.select("query", "converged", "residual"), on="query", maintain_order="left"
    )
    true, reach = expected.mean[query, train], expected.reach[query, train]
    return cells.with_columns(
        true=pl.Series(true.tolist()), reach=pl.Series(reach.tolist())
    ).with_columns(
        error=(pl.col("removal_effect").cast(pl.Float64) - pl.col("true")).abs(),
        allowed=1.1 * pl.col("residual") * pl.col("reach"),
    )
