"""Member of a mean of models: what `attribute` and `Ensemble` need of each one."""

from abc import ABC, abstractmethod
from functools import cached_property

from jaxtyping import Int
from torch import Tensor

from fastif.attribution.attribution import Attribution
from fastif.attribution.solve_queries import SolvedQueries
from fastif.candidates.retrieval import Search
from fastif.data.arrays import Ids
from fastif.data.examples import Examples
from fastif.data.torch_forms import ExamplesLike
from fastif.gradients.per_example import Gradients
from fastif.models.objective import Objective


class Member(ABC):
    """Model of a mean: `Attributor` by influence functions, `UnrolledAttributor` through training.

    Attributes:
        objective: Trained model with its loss.
        train: Training set of n examples.
        search: Choice of the training examples to score.
    """

    objective: Objective
    train: ExamplesLike
    search: Search

    @cached_property
    @abstractmethod
    def gradients(self) -> Gradients:
        """Per-example gradients of the objective."""

    @abstractmethod
    def __call__(
        self,
        queries: ExamplesLike,
        ids: Ids | None = None,
        slices: Int[Tensor, " q"] | None = None,
    ) -> Attribution:
        """Attribute the queries at the given positions, or all queries, by this model alone."""

    @abstractmethod
    def solve_to_score(self, queries: Examples, ids: Int[Tensor, " q"]) -> SolvedQueries:
        """Return the scorer of the queries with its control scores and certificate."""
