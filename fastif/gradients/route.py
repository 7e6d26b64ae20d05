"""The route by which per-example gradients are taken, and what is known about it."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from fastif.errors import InputError
from fastif.gradients.graph_structure import GraphStructure
from fastif.models.objective import Objective
from fastif.numerics.spot_check import is_spot_check

HOOKS = "hooks"
"""The quick route."""
ALWAYS_CHECKED_TILES = 2
"""Tiles of a structure that are all checked."""


@dataclass
class Route:
    """Forward hooks, or one backward pass an example; shared by all that ask one objective.

    Attributes:
        per_example_backward: whether hooks are given up; None until a tile has shown that they are
            exact.
        reason: what spoke against hooks; empty if nothing did.
        num_tiles: how many were taken by hooks.
        num_checked: how many of them were compared with a backward pass over a random combination.
    """

    per_example_backward: bool | None = None
    reason: str = ""
    num_tiles: int = 0
    num_checked: int = 0
    _tiles_by_structure: dict[Hashable, int] = field(default_factory=dict)
    _unchecked: set[Hashable] = field(default_factory=set)

    def is_due(self, structure: GraphStructure) -> bool:
        """Whether the next tile is to be checked.

        The first ones of every structure are, all whose rows the data may move, and a fixed share.
        """
        self.num_tiles += 1
        previous = self._tiles_by_structure.get(structure.signature, 0)
        self._tiles_by_structure[structure.signature] = previous + 1
        sampled = is_spot_check(self.num_tiles)
        return (
            self.per_example_backward is None
            or previous < ALWAYS_CHECKED_TILES
            or structure.moves_rows
            or sampled
        )

    def record_pass(self, decisive: bool) -> None:
        """The tile agreed; it tells something only if two of its rows have a gradient."""
        self.num_checked += 1
        if decisive:
            self.per_example_backward = False

    def record_unchecked(self, structure: GraphStructure) -> None:
        """The tile was taken as it is."""
        self._unchecked.add(structure.signature)

    def record_failure(self, structure: GraphStructure, reason: str) -> None:
        """The tile disagreed: from now on examples are taken one by one.

        Raises:
            InputError: tiles of the same structure have been used unchecked.
        """
        self.fall_back(reason)
        if structure.signature in self._unchecked:
            raise InputError(
                "per-example gradients",
                "forward hooks to give what a backward pass gives, as on the tiles checked before",
                reason,
                "Results of this model so far may be wrong: discard them and start again with "
                "gradients one by one: `objective.per_example_backward = True`, or one_by_one = "
                "true in [run] with another [store].",
            )

    def fall_back(self, reason: str) -> None:
        """Take all later tiles one example at a time."""
        self.per_example_backward, self.reason = True, self.reason or reason

    def __str__(self) -> str:
        if self.per_example_backward:
            return f"one by one: {self.reason}"
        return HOOKS  # a tile of one example takes its own backward pass, which is no other route


_routes: "WeakKeyDictionary[Objective, Route]" = WeakKeyDictionary()


def get_route(objective: Objective) -> Route:
    """The route of an objective, always the same."""
    route = _routes.setdefault(objective, Route())
    if objective.per_example_backward and not route.per_example_backward:
        route.fall_back("asked for")
    return route


def describe_routes(routes: Sequence[Route]) -> str:
    """How gradients were taken; of several models the first that was not by hooks."""
    return next((str(route) for route in routes if str(route) != HOOKS), HOOKS)
