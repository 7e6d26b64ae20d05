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
from fastif.models.hidden_state_table import HiddenStateTable
from fastif.models.objective import Objective
from fastif.models.padding import add_padding
from fastif.models.trial import try_table


class PrefixCache(WrappedExamples):
    """Examples with cached hidden states of the frozen layers, up to a memory budget.

    They stay on the device of the model, so that a batch is gathered there.

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
        self.table = HiddenStateTable(len(examples))
        for places, batch in examples.batches(size=batch_size):
            if self.table.byte_count >= budget_bytes:
                break
            prepared = objective.compute_prefix(batch)
            if "hidden" not in prepared:
                break  # no layer is frozen
            self.table.add(places, prepared)
            if progress:
                progress(len(places))
        self.table.finish()

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        in_table = self.table.contains(ids)
        if bool(in_table.all()):
            batch = self.objective.align_padding(self.examples.take_targets(ids))
            return {**batch, "hidden": self.table.gather(ids, batch)}
        if self.file is None or not all(place in self.file for place in ids[~in_table].tolist()):
            return self.objective.compute_prefix(self.examples.take(ids))
        batch = self.objective.align_padding(self.examples.take_targets(ids))
        return {**batch, "hidden": add_padding(self._read_rows(self.file, ids), batch)}

    def _read_rows(self, file: HiddenStateFile, ids: Int[Tensor, " b"]) -> list[Tensor]:
        """Return the hidden states of each example, from memory or from the file."""
        stored = [place for place in ids.tolist() if place in file]
        read = dict(zip(stored, file.take(stored), strict=True))
        return [
            read[place].to(self.objective.like) if place in read else self.table.read_row(place)
            for place in ids.tolist()
        ]


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
