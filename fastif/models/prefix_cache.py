"""The frozen part of a model, computed once an example."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from fastif.data.examples import (
    FORWARD_BATCH_SIZE,
    Batch,
    Examples,
    WrappedExamples,
)
from fastif.models.hidden_state_file import HiddenStateFile
from fastif.models.objective import Objective
from fastif.models.padding import add_padding, remove_padding
from fastif.models.trial import try_table


class PrefixCache(WrappedExamples):
    """Examples whose frozen hidden states are computed once and kept, up to a memory budget.

    Past the budget they are read from a file if it has them, and else computed anew each time they
    are taken; results are the same.

    Args:
        objective: has the frozen prefix.
        examples: the tokens.
        budget_bytes: memory for hidden states; 0 keeps none.
        batch_size: examples in a forward pass of the prefix, which holds no gradients; not the
            examples' own.
        progress: told the number of examples just computed.
        file: has hidden states of further examples.
    """

    def __init__(
        self,
        objective: Objective,
        examples: Examples,
        budget_bytes: int,
        batch_size: int = FORWARD_BATCH_SIZE,
        progress: Callable[[int], None] | None = None,
        file: HiddenStateFile | None = None,
    ) -> None:
        try_table(
            objective, examples, "examples", objective.query_measure
        )  # a cut may be given up by it
        super().__init__(examples)
        self.objective, self.file = objective, file
        self.cached: dict[int, Tensor] = {}
        free = budget_bytes
        for places, batch in examples.batches(size=batch_size):
            if free <= 0:
                break
            prepared = objective.compute_prefix(batch)
            if "hidden" not in prepared:
                break  # nothing is frozen, so there is nothing to keep
            for place, row in zip(places.tolist(), remove_padding(prepared), strict=True):
                self.cached[place] = row.clone()
                free -= self.cached[place].nbytes
            if progress:
                progress(len(places))

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        batch = self.examples.take(ids)
        rows = self._find_states(ids.tolist())
        if rows is None:
            return self.objective.compute_prefix(batch)
        batch = self.objective.align_padding(batch)
        return {**batch, "hidden": add_padding(rows, batch)}

    def _find_states(self, places: list[int]) -> list[Tensor] | None:
        """Their hidden states, from memory or from the file; None if one is in neither."""
        uncached = [place for place in places if place not in self.cached]
        if not uncached:
            return [self.cached[place] for place in places]
        if self.file is None or not all(place in self.file for place in uncached):
            return None
        states = (row.to(self.objective.like) for row in self.file.take(uncached))
        loaded = dict(zip(uncached, states, strict=True))
        return [loaded[i] if i in loaded else self.cached[i] for i in places]


@dataclass(frozen=True)
class CachePlan:
    """Groups of examples, each a forward pass of the frozen layers.

    Attributes:
        memory: whose hidden states a cache keeps in memory.
        disk: whose hidden states a file has room for; those of all others are not kept.
    """

    memory: tuple[Int[Tensor, " _"], ...]
    disk: tuple[Int[Tensor, " _"], ...]


def plan_cache(
    examples: Examples,
    bytes_per_token: int,
    memory_bytes: int,
    disk_bytes: int,
    batch_size: int,
) -> CachePlan:
    """What a `PrefixCache` of so many bytes keeps, and what of the rest a file has room for.

    `batch_size` is the cache's.
    """
    memory, disk, free = [], [], memory_bytes
    remaining = disk_bytes
    for places in examples.length_buckets(size=batch_size):
        size = int(examples.lengths[places].sum()) * bytes_per_token
        if free > 0:
            memory.append(places)
            free -= size
        elif size <= remaining:
            disk.append(places)
            remaining -= size
        else:
            break
    return CachePlan(tuple(memory), tuple(disk))
