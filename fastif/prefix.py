"""The frozen part of a model, computed once an example."""

from collections.abc import Callable

from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fastif.examples import Batch, Examples, batches, every
from fastif.objective import Objective


class PrefixCache(Examples):
    """Examples whose frozen hidden states are computed once and kept, up to a memory budget.

    Past the budget they are computed anew each time they are taken; results are the same.

    Args:
        objective: has the frozen prefix.
        examples: the tokens.
        budget_bytes: memory for hidden states; 0 keeps none.
        batch_size: examples in a forward pass of the prefix.
        progress: told the number of examples just computed.
    """

    def __init__(
        self,
        objective: Objective,
        examples: Examples,
        budget_bytes: int,
        batch_size: int = 64,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.objective, self.examples = objective, examples
        self.kept: dict[int, Tensor] = {}
        free = budget_bytes
        for places, batch in batches(examples, every(examples), batch_size):
            if free <= 0:
                break
            hidden = objective.prefix(batch).get("hidden")
            if hidden is None:
                break  # nothing is frozen, so there is nothing to keep
            for place, row, length in zip(
                places.tolist(), hidden, examples.lengths[places].tolist(), strict=True
            ):
                self.kept[place] = row[:length].clone()
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

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        batch = self.examples.take(ids)
        picked = ids.tolist()
        if not all(i in self.kept for i in picked):
            return self.objective.prefix(batch)
        return {
            "hidden": pad_sequence([self.kept[i] for i in picked], batch_first=True),
            "attention_mask": batch["attention_mask"],
            "labels": batch["labels"],
        }
