"""Route of per-example gradients: forward hooks, or one backward pass for each example."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from fastif.errors import InputError
from fastif.gradients.graph_structure import GraphStructure
from fastif.models.objective import Objective
from fastif.numerics.spot_check import is_spot_check

HOOKS = "hooks"
"""Name of the route by forward hooks, the faster one."""
ALWAYS_CHECKED_TILES = 2
"""Number of first tiles of every graph structure that are checked."""


@dataclass
class Route:
    """Route of per-example gradients, shared by all `Gradients` of one objective.

    Attributes:
        per_example_backward: Whether each example takes its own backward pass; None until a check
            has shown that hooks are exact.
        reason: Reason against hooks; empty if there is none.
        num_tiles: Number of tiles computed by hooks.
        num_checked: Number of these tiles that were compared with a backward pass.
    """

    per_example_backward: bool | None = None
    reason: str = ""
    num_tiles: int = 0
    num_checked: int = 0
    _tiles_by_structure: dict[Hashable, int] = field(default_factory=dict)
    _unchecked: set[Hashable] = field(default_factory=set)

    def is_due(self, structure: GraphStructure) -> bool:
        """Whether the next tile is to be checked.

        The first tiles of every structure are checked, all tiles with rows that the data may
        reorder, and a fixed share of the others.
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
        """Record a tile that agreed; it is decisive if at least two gradients are nonzero."""
        self.num_checked += 1
        if decisive:
            self.per_example_backward = False

    def record_unchecked(self, structure: GraphStructure) -> None:
        """Record a tile that was used without a check."""
        self._unchecked.add(structure.signature)

    def record_failure(self, structure: GraphStructure, reason: str) -> None:
        """Record a tile that disagreed: later examples take one backward pass each.

        Raises:
            InputError: If tiles of an equal structure have been used unchecked.
        """
        self.fall_back(reason)
        if structure.signature in self._unchecked:
            raise InputError(
                "per-example gradients",
                "forward hooks that agree with a backward pass, as on the tiles checked before",
                reason,
                "Results of this model so far may be wrong: discard them and start again with one "
                "backward pass for each example: `objective.per_example_backward = True`, or "
                "one_by_one = true in [run] with another [store].",
            )

    def fall_back(self, reason: str) -> None:
        """Use one backward pass for each example from now on."""
        self.per_example_backward, self.reason = True, self.reason or reason

    def __str__(self) -> str:
        if self.per_example_backward:
            return f"one by one: {self.reason}"
        return HOOKS  # a tile of one example always takes a backward pass


_routes: "WeakKeyDictionary[Objective, Route]" = WeakKeyDictionary()


def get_route(objective: Objective) -> Route:
    """Return the route of an objective, one for its lifetime."""
    route = _routes.setdefault(objective, Route())
    if objective.per_example_backward and not route.per_example_backward:
        route.fall_back("asked for")
    return route


def describe_routes(routes: Sequence[Route]) -> str:
    """Describe how gradients were computed: the first route without hooks, if there is one."""
    return next((str(route) for route in routes if str(route) != HOOKS), HOOKS)
