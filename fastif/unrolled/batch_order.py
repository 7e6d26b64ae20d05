"""Order of the training rows, recorded from the batch sampler that a data loader draws from."""

from collections import deque

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader

from fastif.errors import InputError


class BatchOrder:
    """Positions of the rows of each batch, in the order in which a data loader yields them.

    The sampler is given a subclass of its own class, whose iteration keeps a copy of each batch.
    Its random numbers, its length, workers that read ahead, and loaders that skip the first batches
    of a resumed epoch (accelerate's skip_first_batches) are as before.

    Args:
        loader: Data loader of the training.

    Raises:
        InputError: The loader has no batch sampler, as for streamed data.
    """

    def __init__(self, loader: DataLoader) -> None:
        self._sampler = getattr(loader, "batch_sampler", None)
        if self._sampler is None or not hasattr(loader.dataset, "__len__"):
            raise InputError(
                "RecordTraining: training data",
                "a data set with positions and a length",
                f"{type(loader.dataset).__name__}, which is streamed",
                "Load the rows into a data set that can be indexed (`datasets.Dataset` or a list).",
            )
        self._kind = type(self._sampler)
        self._drawn: deque[list[int]] = deque()
        self._skip = 0
        self._sampler.__class__ = _make_recording_class(self._kind, self._drawn)

    def start_epoch(self, skipped: int = 0) -> None:
        """Forget batches that were drawn ahead and not used.

        Args:
            skipped: Number of batches at the start of the epoch that are drawn and not trained on.
        """
        self._drawn.clear()
        self._skip = skipped

    def take(self, count: int) -> list[Int[Tensor, " b"]]:
        """Return the positions of the next batches that the training used."""
        for _ in range(self._skip):
            self._drawn.popleft()
        self._skip = 0
        return [torch.tensor(self._drawn.popleft()) for _ in range(count)]

    def close(self) -> None:
        """Give the sampler its own class again."""
        assert self._sampler is not None
        self._sampler.__class__ = self._kind


def _make_recording_class(kind: type, drawn: deque[list[int]]) -> type:
    """Return a subclass of a batch sampler that keeps the batches that it yields."""

    def iterate(sampler: object) -> object:
        for ids in kind.__iter__(sampler):
            drawn.append([int(i) for i in ids])
            yield ids

    return type(kind.__name__, (kind,), {"__iter__": iterate})
