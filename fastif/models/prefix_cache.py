"""Cache of the hidden states of frozen layers, in memory and on disk."""

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
    """Examples with cached hidden states of the frozen layers, up to a memory budget.

    Beyond the budget, hidden states are read from a file if it has them, and else recomputed on
    each use. The results are equal.

    Args:
        objective: Model with frozen layers.
        examples: Tokens of the examples.
        budget_bytes: Memory in bytes for hidden states; 0 caches none.
        batch_size: Examples in a forward pass of the frozen layers, which holds no gradients;
            unrelated to the batch size of the examples.
        progress: Function that receives the number of examples just computed.
        file: Hidden states of further examples on disk.
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
        )  # the trial may undo the truncation
        super().__init__(examples)
        self.objective, self.file = objective, file
        self.cached: dict[int, Tensor] = {}
        free = budget_bytes
        for places, batch in examples.batches(size=batch_size):
            if free <= 0:
                break
            prepared = objective.compute_prefix(batch)
            if "hidden" not in prepared:
                break  # no layer is frozen
            for place, row in zip(places.tolist(), remove_padding(prepared), strict=True):
                self.cached[place] = row.clone()
                free -= self.cached[place].nbytes
            if progress:
                progress(len(places))

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        rows = self._find_states(ids.tolist())
        if rows is None:
            return self.objective.compute_prefix(self.examples.take(ids))
        batch = self.objective.align_padding(self.examples.take_targets(ids))
        return {**batch, "hidden": add_padding(rows, batch)}

    def _find_states(self, places: list[int]) -> list[Tensor] | None:
        """Return hidden states from memory or from the file; None if one is in neither."""
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
    """Groups of examples, each one forward pass of the frozen layers.

    Attributes:
        memory: Groups with hidden states in memory.
        disk: Groups with hidden states in a file; all others are recomputed on each use.
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
    """Plan the examples that a `PrefixCache` holds in memory, and those that fit into a file.

    Args:
        examples: Tokens of the examples.
        bytes_per_token: Size of a hidden state in bytes.
        memory_bytes: Memory budget in bytes.
        disk_bytes: Disk budget in bytes.
        batch_size: Batch size of the cache.
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
