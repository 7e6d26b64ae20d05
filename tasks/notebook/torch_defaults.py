"""Defaults of torch during an audit, regardless of those of the session."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

_lock = threading.RLock()


@contextmanager
def use_torch_defaults() -> Iterator[None]:
    """Context manager with float32 on the CPU as the defaults, and gradients; restored at the end.

    An audit converts weights to float32, and names the device of every tensor that is elsewhere.
    Threads take turns: all of them have the same default type.
    """
    is_elsewhere = torch.get_default_device().type != "cpu"
    with _lock, torch.inference_mode(False), torch.device("cpu") if is_elsewhere else nullcontext():
        dtype = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
