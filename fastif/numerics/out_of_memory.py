"""Work that does not fit into memory is done in halves; what is free goes back to the system."""

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

T = TypeVar("T")


def split_on_oom(
    work: Callable[[Int[Tensor, " b"]], T], ids: Int[Tensor, " m"]
) -> Iterator[tuple[Int[Tensor, " b"], T]]:
    """What `work` finds for all of `ids`, or for halves of them, and of these, until it fits.

    Raises:
        torch.OutOfMemoryError, MemoryError, RuntimeError: even one alone does not fit.

    >>> def work(ids):
    ...     if len(ids) > 2:
    ...         raise MemoryError
    ...     return ids.sum().item()
    >>> [found for _, found in split_on_oom(work, torch.arange(5))]
    [1, 2, 7]
    """
    try:
        result = work(ids)
    except (MemoryError, RuntimeError) as error:
        if len(ids) == 1 or not is_out_of_memory(error):
            raise
    else:
        yield ids, result
        return
    # Out of the handler: the failure's traceback held what was allocated before it.
    free_cache()
    for half in ids.split(-(-len(ids) // 2)):
        yield from split_on_oom(work, half)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether that is what failed; the CPU's allocator has no exception of its own."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def free_cache() -> None:
    """Give memory that is free but held back to the device, and to the system."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
    release_to_os()


def release_to_os() -> None:
    """Give memory that is free but held back to the system.

    glibc keeps what was freed below something that is still in use: after a stage of many small
    tensors several hundred megabytes, on top of which the next stage would make its peak. Other
    systems' allocators are left to themselves.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
