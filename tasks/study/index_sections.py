"""The kinds of `[candidates]` that search an index: by representations, and by sketches.

The text under a field is what a message says when the field is missing.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from fastif.evaluation.select_k import TOP_SIZE, make_k_grid
from fastif.solvers.cost import FLOAT32_BYTES
from tasks.study.candidate_section import IndexSection
from tasks.study.errors import Problem, format_value
from tasks.study.index_cost import IndexCost, IndexProblem
from tasks.study.validation_errors import make_validation_error

K_GUESS_FACTOR = 2
"""Sketches have taken fewer than a tenth of large tables: the first k that is tried with room for
twice the rows that are to be found stands for one that is yet to be chosen."""
FLOAT16_BYTES = 2
"""Bytes of a number of a sketch."""
POSITION_BYTES, DIGEST_BYTES = 8, 16
"""Of where a training row's sketch lies, and of the name that it is found again by."""
SKETCHER_OVERHEAD = 1.15
"""A sketcher is its basis, and the directions that it narrows each layer to."""


class KnnSection(IndexSection):
    """`[candidates]`: the nearest training examples by the model's own representation."""

    distinct_exponent: ClassVar[float] = 0.85
    by_products: ClassVar[bool] = False

    kind: Literal["knn"] = "knn"

    def estimate_index_cost(self, problem: IndexProblem) -> IndexCost:
        """A forward pass and a representation for each row."""
        rows = problem.pending.rows
        return IndexCost(rows, disk_bytes=rows * problem.embedding_width * FLOAT32_BYTES)


class SketchSection(IndexSection):
    """`[candidates]`: the training examples whose sketches promise the largest effects.

    Half of the k at either end.
    """

    distinct_exponent: ClassVar[float] = 0.6
    index_fields: ClassVar[tuple[str, ...]] = ("dimensions", "width", "energy")
    by_products: ClassVar[bool] = True

    kind: Literal["sketch"] = "sketch"
    dimensions: Annotated[int, Field(ge=1)] = 1000
    """length of a sketch, a training row taking twice so many bytes"""
    width: Annotated[int, Field(ge=1)] = 16_384
    """of the folding that a gradient goes through first: wider is more exact"""
    energy: Annotated[float, Field(gt=0, le=1)] = 0.98
    """share of each layer's squared gradients that is kept before; 1 for a small damping"""
    rescore: bool = True
    """whether candidates are scored exactly; false keeps their scores by sketches, at once"""

    @model_validator(mode="after")
    def _check_sketch_scores(self) -> Self:
        if not self.rescore and (self.factory != "Flat" or self.quota is not None):
            key = "quota" if self.quota is not None else "factory"
            expected, got = "no such key beside rescore = false", format_value(getattr(self, key))
            raise make_validation_error(Problem(key, expected, got, "remove it, or rescore"))
        return self

    @property
    def has_sketch_scores(self) -> bool:
        """Whether scores are left as the sketches give them."""
        return not self.rescore

    def count_dimensions(self, factor_rows: int) -> int:
        """Length of a sketch: the curvature has no more directions than root rows."""
        return min(self.dimensions, factor_rows)

    def estimate_index_cost(self, problem: IndexProblem) -> IndexCost:
        """To find the directions, unless they are those of an earlier table, and sketch new rows.

        The root rows are drawn in a forward pass, and then taken twice.
        """
        pending, dimensions = problem.pending, self.count_dimensions(problem.factor_rows)
        basis_bytes = dimensions * self.width * FLOAT32_BYTES
        working_bytes = 4 * basis_bytes  # the sketches themselves are mapped
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
        """The first k with room for the top, unless a tenth of the rows is less."""
        grid = [k for k in make_k_grid(rows) if k >= K_GUESS_FACTOR * TOP_SIZE]
        return min([*grid, super().guess_k(rows)])


AnyMethod = Annotated[KnnSection | SketchSection, Field(discriminator="kind")]
