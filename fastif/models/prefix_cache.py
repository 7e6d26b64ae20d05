"""The frozen part of a model, computed once an example."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from fastif.data.examples import (
    Batch,
    Examples,
    batches,
    every,
    places_by_length,
)
from fastif.models.hidden_state_file import HiddenFile
from fastif.models.objective import Objective
from fastif.models.padding import with_padding, without_padding
from fastif.models.trial import try_table


class PrefixCache(Examples):
    """Examples whose frozen hidden states are computed once and kept, up to a memory budget.

    Past the budget they are read from a file if it has them, and else computed anew each time they
    are taken; results are the same.

    Args:
        objective: has the frozen prefix.
        examples: the tokens.
        budget_bytes: memory for hidden states; 0 keeps none.
        batch_size: examples in a forward pass of the prefix.
        progress: told the number of examples just computed.
        file: has hidden states of further examples.
    """

    def __init__(
        self,
        objective: Objective,
        examples: Examples,
        budget_bytes: int,
        batch_size: int = 64,
        progress: Callable[[int], None] | None = None,
        file: HiddenFile | None = None,
    ) -> None:
        try_table(objective, examples, "examples", objective.asked)  # a cut may be given up by it
        self.objective, self.examples, self.file = objective, examples, file
        self.kept: dict[int, Tensor] = {}
        free = budget_bytes
        for places, batch in batches(examples, every(examples), batch_size):
            if free <= 0:
                break
            ready = objective.prefix(batch)
            if "hidden" not in ready:
                break  # nothing is frozen, so there is nothing to keep
            for place, row in zip(places.tolist(), without_padding(ready), strict=True):
                self.kept[place] = row.clone()
                free -= self.kept[place].nbytes
            if progress:
                progress(len(places))

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def lengths(self) -> Int[Tensor, " n"]:
        return self.examples.lengths

    @property
    def batch_tokens(self) -> int | None:
        return self.examples.batch_tokens

    @property
    def equal_lengths(self) -> bool:
        return self.examples.equal_lengths

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        batch = self.examples.take(ids)
        rows = self._rows(ids.tolist())
        if rows is None:
            return self.objective.prefix(batch)
        batch = self.objective.placed(batch)
        return {**batch, "hidden": with_padding(rows, batch)}

    def _rows(self, places: list[int]) -> list[Tensor] | None:
        """Their hidden states, from memory or from the file; None if one is in neither."""
        far = [place for place in places if place not in self.kept]
        if not far:
            return [self.kept[place] for place in places]
        if self.file is None or not all(place in self.file for place in far):
            return None
        read = (row.to(self.objective.like) for row in self.file.take(far))
        found = dict(zip(far, read, strict=True))
        return [found[i] if i in found else self.kept[i] for i in places]


@dataclass(frozen=True)
class Split:
    """Groups of examples, each a forward pass of the frozen layers.

    Attributes:
        memory: whose hidden states a cache keeps in memory.
        disk: whose hidden states a file has room for; those of all others are not kept.
    """

    memory: tuple[Int[Tensor, " _"], ...]
    disk: tuple[Int[Tensor, " _"], ...]


def split(
    examples: Examples,
    bytes_a_token: int,
    memory_bytes: int,
    disk_bytes: int,
    batch_size: int,
) -> Split:
    """What a `PrefixCache` of so many bytes keeps, and what of the rest a file has room for."""
    memory, disk, free = [], [], memory_bytes
    left = disk_bytes
    for places in places_by_length(examples, every(examples), batch_size):
        size = int(examples.lengths[places].sum()) * bytes_a_token
        if free > 0:
            memory.append(places)
            free -= size
        elif size <= left:
            disk.append(places)
            left -= size
        else:
            break
    return Split(tuple(memory), tuple(disk))
