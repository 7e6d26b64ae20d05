"""Lookahead: the next batch is read by a thread of the host while a device computes the current."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread

import torch
from jaxtyping import Int
from torch import Tensor

from fastif.data.examples import Batch
from fastif.numerics.transfer import lock_pages, send

MAX_BATCHES = 2
"""Batches that are read ahead and not taken yet: the current one and the next."""

Collate = Callable[[Int[Tensor, " b"]], Batch]


class Lookahead:
    """Batches on the host that are read before they are taken, at most `MAX_BATCHES` of them.

    It changes when a batch is read, and never what it holds: a batch that was not announced is read
    when it is taken, an announced one that is never taken is dropped, and an error of the thread is
    raised by `take`.

    Args:
        device: Device to which the batches are copied; from page-locked memory to a GPU.
        is_enabled: Whether batches are read ahead: only a GPU leaves the host idle.
    """

    def __init__(self, device: torch.device | str, is_enabled: bool | None = None) -> None:
        self._device = torch.device(device)
        self._is_enabled = self._device.type == "cuda" if is_enabled is None else is_enabled
        self._pending: list[tuple[Tensor, Future[Batch]]] = []
        self._one_at_a_time = Lock()

    def __reduce__(self) -> tuple:
        return Lookahead, (self._device, self._is_enabled)  # a copy has nothing read ahead

    def announce(self, ids: Int[Tensor, " b"], collate: Collate) -> None:
        """Start to read a batch; the oldest one that was not taken is dropped if there are more.

        Args:
            ids: Positions of the examples.
            collate: Function that reads the examples at given positions, in one thread at a time.
        """
        if not self._is_enabled or any(
            torch.equal(ids, announced) for announced, _ in self._pending
        ):
            return
        future: Future[Batch] = Future()
        self._pending = [*self._pending, (ids, future)][-MAX_BATCHES:]
        Thread(target=self._read, args=(ids, collate, future), daemon=True).start()

    def take(self, ids: Int[Tensor, " b"], collate: Collate) -> Batch:
        """Return the batch at these positions on the device.

        Raises:
            Exception: What the function raised.
        """
        for place, (announced, future) in enumerate(self._pending):
            if torch.equal(ids, announced):
                del self._pending[place]
                batch = future.result()
                break
        else:
            batch = collate(ids)
        return {name: send(tensor, self._device) for name, tensor in batch.items()}

    def _read(self, ids: Tensor, collate: Collate, future: "Future[Batch]") -> None:
        with self._one_at_a_time:
            try:
                batch = collate(ids)
                future.set_result({name: lock_pages(t, self._device) for name, t in batch.items()})
            except BaseException as error:  # raised by `take`, where it is handled
                future.set_exception(error)
