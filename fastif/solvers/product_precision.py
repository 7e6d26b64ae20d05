"""Precision of the large products of a solve, whose residual is measured in single precision."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from fastif.errors import InputError
from fastif.numerics.precision import SINGLE, TF32, use_products
from fastif.numerics.shared_setting import SharedSetting
from fastif.solvers.settings import Products

LOW: dict[str, Products] = {"cuda": "tf32", "cpu": "bf16"}
"""Precision below single of products of single-precision matrices, by kind of device."""


def _has_bf16() -> bool:
    return _matmul().fp32_precision == "bf16"


def _set_bf16(is_on: bool) -> None:
    if is_on != _has_bf16():  # torch refuses its older setting once this one was written
        _matmul().fp32_precision = "bf16" if is_on else "none"


def _matmul() -> Any:
    """Return the settings of matrix products on the CPU, which torch's type stubs omit."""
    return getattr(torch.backends.mkldnn, "matmul")  # noqa: B009


_cpu_products = SharedSetting(_has_bf16, _set_bf16)


def check_products(products: Products, device: torch.device) -> None:
    """Refuse a precision of products that a device does not have.

    Raises:
        InputError: If it is TF32 without a CUDA GPU, or bfloat16 on another device than a CPU.
    """
    low = LOW.get(device.type, "single")
    if products not in ("single", low):
        raise InputError(
            "[solver] products",
            " or ".join(f'"{name}"' for name in dict.fromkeys(("single", low)))
            + f" on a device of type {device.type}",
            f'"{products}"',
            f'Set products = "{low}", or remove it for single precision.',
        )


def use_precision(device: torch.device, products: Products) -> AbstractContextManager[None]:
    """Return a context in which products of single-precision matrices take this precision.

    The setting is one of the process: a thread that needs another one waits until this context is
    left. Products of double-precision matrices do not depend on it.
    """
    if device.type == "cpu":
        return _cpu_products.use(products == "bf16")
    if device.type == "cuda":
        return use_products(device, TF32 if products == "tf32" else SINGLE)
    return nullcontext()
