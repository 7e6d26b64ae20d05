"""Subject of the benchmark: a trained model with its queries, which can be trained again."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

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
        title: Name in tables.
        seeds: Random seeds of the trainings with each edit.
    """

    title: ClassVar[str]
    seeds: tuple[int, ...] = (0,)

    @property
    @abstractmethod
    def attributor(self) -> fastif.Attributor:
        """Attributor of the explained model."""

    @property
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
