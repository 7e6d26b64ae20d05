"""Out-of-memory recovery by halving the work, and release of cached memory."""

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
    """Yield results of `work` on all `ids`, or on halves of them until each fits into memory.

    Raises:
        torch.OutOfMemoryError, MemoryError, RuntimeError: A single id does not fit, or `work`
            failed for another reason.

    Examples:
        >>> def work(ids):
        ...     if len(ids) > 2:
        ...         raise MemoryError
        ...     return ids.sum().item()
        >>> [result for _, result in split_on_oom(work, torch.arange(5))]
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
    # Outside of the handler, where the traceback no longer references the failed allocations.
    free_cache()
    for half in ids.split(-(-len(ids) // 2)):
        yield from split_on_oom(work, half)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception is an out-of-memory error; the CPU allocator raises a RuntimeError."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def free_cache() -> None:
    """Return cached free memory to the device and to the operating system."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
    release_to_os()


def release_to_os() -> None:
    """Return cached free memory to the operating system (glibc's malloc_trim).

    glibc keeps freed memory below a block in use: after a stage with many small tensors several
    hundred megabytes, which would add to the next stage's peak. Other systems' allocators are not
    changed.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
