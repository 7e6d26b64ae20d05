"""Kinds of `[candidates]` that search an index: nearest neighbours and gradient sketches.

The docstring of a field is shown in the error message when the field is missing.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from fastif.solvers.cost import FLOAT32_BYTES
from tasks.study.candidate_section import IndexSection
from tasks.study.errors import Problem, format_value
from tasks.study.index_cost import IndexCost, IndexProblem
from tasks.study.validation_errors import make_validation_error

K_GUESS_FACTOR = 2
"""Least multiple of the target size that a guess of k has. Sketches needed fewer candidates than a
tenth of large tables, so the guess is the first k of the grid of this size."""
FLOAT16_BYTES = 2
"""Bytes per number of a sketch."""
POSITION_BYTES, DIGEST_BYTES = 8, 16
"""Bytes of the position of a training row's sketch, and of its digest."""
SKETCHER_OVERHEAD = 1.15
"""Size of a sketcher relative to its basis, since it also holds the projection of each layer."""


class KnnSection(IndexSection):
    """`[candidates]`: nearest neighbours by the model's final representation (Guo et al., 2021)."""

    distinct_exponent: ClassVar[float] = 0.85
    by_products: ClassVar[bool] = False

    kind: Literal["knn"] = "knn"

    def estimate_index_cost(self, problem: IndexProblem) -> IndexCost:
        """Estimate the cost: one forward pass and one stored vector per row."""
        rows = problem.pending.rows
        return IndexCost(rows, disk_bytes=rows * problem.embedding_width * FLOAT32_BYTES)


class SketchSection(IndexSection):
    """`[candidates]`: top-k and bottom-k of the approximate effects by gradient sketches.

    Half of the k candidates have the highest, half the lowest approximate effect.
    """

    distinct_exponent: ClassVar[float] = 0.6
    index_fields: ClassVar[tuple[str, ...]] = ("dimensions", "width", "energy")
    by_products: ClassVar[bool] = True

    kind: Literal["sketch"] = "sketch"
    dimensions: Annotated[int, Field(ge=1)] = 1000
    """length of a sketch; a training row takes two bytes per dimension"""
    width: Annotated[int, Field(ge=1)] = 16_384
    """width of the count sketch of a gradient; wider is more accurate"""
    energy: Annotated[float, Field(gt=0, le=1)] = 0.98
    """explained variance of each layer's low-rank projection; use 1 for a small damping"""
    rescore: bool = True
    """whether candidates are scored exactly; false keeps the fast approximate sketch scores"""

    @model_validator(mode="after")
    def _check_sketch_scores(self) -> Self:
        if not self.rescore and (self.factory != "Flat" or self.quota is not None):
            key = "quota" if self.quota is not None else "factory"
            expected, got = (
                "no such key with rescore = false",
                format_value(getattr(self, key)),
            )
            raise make_validation_error(Problem(key, expected, got, "remove it, or rescore"))
        return self

    @property
    def has_sketch_scores(self) -> bool:
        """Whether the stored scores are the approximate ones of the sketches."""
        return not self.rescore

    def count_dimensions(self, factor_rows: int) -> int:
        """Length of a sketch, at most the number of factor rows, the rank of the curvature."""
        return min(self.dimensions, factor_rows)

    def estimate_index_cost(self, problem: IndexProblem) -> IndexCost:
        """Estimate the cost of fitting the sketcher, unless it exists, and of sketching new rows.

        Fitting samples the factor rows in one forward pass, then computes them twice.
        """
        pending, dimensions = problem.pending, self.count_dimensions(problem.factor_rows)
        basis_bytes = dimensions * self.width * FLOAT32_BYTES
        working_bytes = 4 * basis_bytes  # the sketches themselves are memory-mapped
        if pending.has_list:
            return IndexCost(working_bytes=working_bytes)
        listed_bytes = POSITION_BYTES + DIGEST_BYTES
        listed_bytes += dimensions * FLOAT32_BYTES * (self.factory != "Flat")
        disk_bytes = FLOAT16_BYTES * pending.rows * dimensions + problem.train * listed_bytes
        if pending.has_sketcher:
            return IndexCost(0, pending.rows, disk_bytes, working_bytes)
        return IndexCost(
            forwards=problem.curvature_rows,
            gradients=pending.rows + 2 * dimensions,
            disk_bytes=disk_bytes + int(SKETCHER_OVERHEAD * basis_bytes),
            working_bytes=working_bytes,
        )

    def guess_k(self, rows: int) -> int:
        """Guess k: twice the target size on the grid, or a tenth of the rows if that is less."""
        from fastif.evaluation.select_k import TOP_SIZE, make_k_grid

        grid = [k for k in make_k_grid(rows) if k >= K_GUESS_FACTOR * TOP_SIZE]
        return min([*grid, super().guess_k(rows)])


AnyMethod = Annotated[KnnSection | SketchSection, Field(discriminator="kind")]
