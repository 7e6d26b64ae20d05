"""Scratch memory of a thread for large intermediate results, which are overwritten each time.

The system clears new memory page by page, which takes twice as long as the product that fills it.
On a GPU torch keeps freed memory itself.
"""

import threading

import torch
from jaxtyping import Float
from torch import Tensor

_held = threading.local()


def borrow_rows(like: Tensor, count: int, size: int) -> Float[Tensor, "count size"]:
    """Return an uninitialised matrix that the next call in this thread may overwrite.

    One buffer for each type stays in memory, as large as the largest matrix so far.

    Args:
        like: Tensor with the type and device of the matrix.
        count: Number of rows.
        size: Number of columns.
    """
    numbers = count * size
    if like.device.type != "cpu":
        return like.new_empty(count, size)
    buffers: dict[torch.dtype, Tensor] = vars(_held).setdefault("buffers", {})
    buffer = buffers.get(like.dtype)
    if buffer is None or buffer.numel() < numbers:
        buffers.pop(like.dtype, None)  # freed before the larger one is allocated
        buffer = buffers[like.dtype] = like.new_empty(numbers)
    return buffer[:numbers].view(count, size)
