"""The route by which per-example gradients are taken, and what is known about it."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from fastif.attribution.certificate import HOOKS
from fastif.errors import InputError
from fastif.gradients.graph_structure import Structure
from fastif.models.objective import Objective

FIRST = 2
"""Tiles of a structure that are all checked."""
SHARE = 32
"""One in so many of the others is checked: a check costs about as much as the tile."""
GOLDEN = 0.6180339887498949
"""Multiples of it fall evenly into the unit interval, whatever period the tiles have."""


@dataclass
class Route:
    """Forward hooks, or one backward pass an example; shared by all that ask one objective.

    Attributes:
        one_by_one: whether hooks are given up; None until a tile has shown that they are exact.
        why: what spoke against hooks; empty if nothing did.
        tiles: how many were taken by hooks.
        checked: how many of them were compared with a backward pass over a random combination.
    """

    one_by_one: bool | None = None
    why: str = ""
    tiles: int = 0
    checked: int = 0
    _met: dict[Hashable, int] = field(default_factory=dict)
    _unchecked: set[Hashable] = field(default_factory=set)

    def is_due(self, structure: Structure) -> bool:
        """Whether the next tile is to be checked.

        The first ones of every structure are, all whose rows the data may move, and a fixed share.
        """
        self.tiles += 1
        before = self._met.get(structure.signature, 0)
        self._met[structure.signature] = before + 1
        drawn = (self.tiles * GOLDEN) % 1.0 < 1 / SHARE
        return self.one_by_one is None or before < FIRST or structure.moves_rows or drawn

    def passed(self, decisive: bool) -> None:
        """The tile agreed; it tells something only if two of its rows have a gradient."""
        self.checked += 1
        if decisive:
            self.one_by_one = False

    def left_unchecked(self, structure: Structure) -> None:
        """The tile was taken as it is."""
        self._unchecked.add(structure.signature)

    def failed(self, structure: Structure, why: str) -> None:
        """The tile disagreed: from now on examples are taken one by one.

        Raises:
            InputError: tiles of the same structure have been used unchecked.
        """
        self.fall_back(why)
        if structure.signature in self._unchecked:
            raise InputError(
                "per-example gradients",
                "forward hooks to give what a backward pass gives, as on the tiles checked before",
                why,
                "Results of this model so far may be wrong: discard them and start again with "
                "gradients one by one: `objective.one_by_one = True`, or one_by_one = true in "
                "[run] with another [store].",
            )

    def fall_back(self, why: str) -> None:
        """Take all later tiles one example at a time."""
        self.one_by_one, self.why = True, self.why or why

    def __str__(self) -> str:
        if self.one_by_one:
            return f"one by one: {self.why}"
        return HOOKS  # a tile of one example takes its own backward pass, which is no other route


_routes: "WeakKeyDictionary[Objective, Route]" = WeakKeyDictionary()


def route_of(objective: Objective) -> Route:
    """The route of an objective, always the same."""
    route = _routes.setdefault(objective, Route())
    if objective.one_by_one and not route.one_by_one:
        route.fall_back("asked for")
    return route
