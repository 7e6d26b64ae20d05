"""Operations of the solves of the GPU benchmark, from its sizes alone."""

from dataclasses import dataclass

from benchmarks.bulk.gpu_workload import LABELS, Scale

WIDTH, INNER = 768, 3072
"""Dimensions of BERT-base, where a scale has no others."""

ATTRIBUTED = 2
"""Number of encoder layers with attributed parameters."""


@dataclass(frozen=True)
class Step:
    """One step of a solve.

    Attributes:
        name: Name in tables.
        operations: Number of multiplications and additions.
        is_low: Whether its products take tensor cores (TF32), or single precision.
    """

    name: str
    operations: float
    is_low: bool

    def bound_seconds(self, low: float, single: float) -> float:
        """Return the seconds at these numbers of operations a second."""
        return self.operations / (low if self.is_low else single)


def count_rotations(scale: Scale) -> float:
    """Return 4 Σ o i (o + i) over the attributed layers [o i], for one query."""
    width = scale.model.get("hidden_size", WIDTH)
    inner = scale.model.get("intermediate_size", INNER)
    encoder = [(width, width)] * 4 + [(inner, width), (width, inner)]
    layers = [*ATTRIBUTED * encoder, (width, width), (LABELS, width)]
    return 4.0 * sum(o * i * (o + i) for o, i in layers)


def count_ekfac(scale: Scale, parameters: int) -> list[Step]:
    """Return the steps of the solve by EK-FAC, with all directions rotated."""
    factor_rows, numbers = _factor_rows(scale.curvature_rows), float(scale.queries * parameters)
    return [
        Step("rotations by EK-FAC", count_rotations(scale) * scale.queries, True),
        Step("residual on the sampled matrix", 4 * factor_rows * numbers, True),
    ]


def count_converged(scale: Scale, parameters: int) -> list[Step]:
    """Return the steps of the dual solve without refinement, with the certificate."""
    factor_rows, numbers = _factor_rows(scale.converged_rows), float(scale.queries * parameters)
    half = _factor_rows(scale.residual_rows // 2)
    return [
        Step("Gram matrix", float(factor_rows) ** 2 * parameters, True),
        Step("products V b", 2 * factor_rows * numbers, True),
        Step("solution and its residual", 4 * factor_rows * numbers, False),
        Step("residual on all rows, estimated", 12 * half * numbers, False),
    ]


def _factor_rows(rows: int) -> int:
    return rows * (LABELS - 1)
