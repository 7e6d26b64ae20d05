"""Subject of the benchmark: a trained model with its queries, which can be trained again."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float, Int
from torch import Tensor

import fastif


@dataclass(frozen=True, eq=False)
class RowEdit:
    """Edit of some training rows.

    Attributes:
        ids: Positions of the rows.
        labels: New labels; None if the rows are removed.
    """

    ids: Int[Tensor, " k"]
    labels: Int[Tensor, " k"] | None


class Subject(ABC):
    """Trained model, explained by an attributor, that can be trained again on edited rows.

    Attributes:
        seeds: Random seeds of the trainings with each edit.
        random_sets: Number of random sets for each claimed one.
    """

    seeds: tuple[int, ...] = (0,)
    random_sets: int = 2

    @property
    @abstractmethod
    def title(self) -> str:
        """Name in tables."""

    @cached_property
    @abstractmethod
    def attributor(self) -> fastif.Attributor:
        """Attributor of the explained model."""

    @cached_property
    @abstractmethod
    def queries(self) -> fastif.Examples:
        """Queries."""

    @property
    @abstractmethod
    def labels(self) -> Int[Tensor, " n"]:
        """Labels of the training rows."""

    @abstractmethod
    def retrain(self, edit: RowEdit, query: int, seed: int) -> Float[Tensor, " c"]:
        """Return the outputs of a query under the model trained again."""
