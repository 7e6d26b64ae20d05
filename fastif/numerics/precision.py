"""Precision of a scan's arithmetic: single precision, TF32, or bfloat16 by autocast."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final, Literal, get_args

import torch

from fastif.errors import InputError
from fastif.numerics.shared_setting import SharedSetting

Precision = Literal["single", "tf32", "bf16"]
"""Precision of the passes and products of a scan. Solves and checks take single precision."""

SINGLE: Final = "single"
TF32: Final = "tf32"
BF16: Final = "bf16"

CPU_BF16_FLAGS = ("amx_bf16", "avx512_bf16")
"""Processor flags of matrix instructions in bfloat16."""


def check_precision(precision: str) -> None:
    """Refuse an unknown precision.

    Raises:
        InputError: It is none of `Precision`.
    """
    if precision not in get_args(Precision):
        raise InputError(
            "precision", '"single", "tf32" or "bf16"', f'"{precision}"', 'Use "single".'
        )


def autocast_passes(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return a context in which forward passes take bfloat16 by autocast, if it is the precision.

    Autocast applies to the current thread alone. Weights stay as they are, and normalisations and
    softmax stay in single precision. Casts of weights are not kept, since a kept cast would outlive
    a change of the weights.
    """
    if precision != BF16 or not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def _set_tf32(enabled: bool) -> None:
    precision = "tf32" if enabled else "ieee"
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision  # pyright: ignore[reportAttributeAccessIssue]


def _get_tf32() -> bool:
    return torch.backends.cuda.matmul.fp32_precision == "tf32"


def list_precisions(device: torch.device) -> tuple[Precision, ...]:
    """Return the precisions below single that are faster on a device, the fastest first.

    A GPU of compute capability 8.0 or more has tensor cores for bfloat16 and TF32. A processor has
    matrix instructions for bfloat16 if it names one of `CPU_BF16_FLAGS`.
    """
    if device.type == "cuda":
        has_tensor_cores = torch.cuda.get_device_capability(device) >= (8, 0)
        return (BF16, TF32) if has_tensor_cores else ()
    return (BF16,) if device.type == "cpu" and _has_cpu_bf16() else ()


def _has_cpu_bf16() -> bool:
    try:
        flags = set(Path("/proc/cpuinfo").read_text("utf-8").split())
    except OSError:
        return False
    return not flags.isdisjoint(CPU_BF16_FLAGS)


_products = SharedSetting(_get_tf32, _set_tf32)


def use_products(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Return a context with TF32 products on a GPU if it is the precision, and without otherwise.

    The setting is one of the process: a thread that needs the other one waits until this context is
    left. A CPU has no TF32, so nothing changes on it.
    """
    return _products.use(precision == TF32) if device.type == "cuda" else nullcontext()
