"""The precision of a computation: what is rounding and what is a difference."""

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)
"""Types in which no loss, no root of a curvature and no sum is taken."""

MATMUL_DTYPES = {"highest": torch.float32, "high": torch.float16, "medium": torch.bfloat16}
"""The digits of a product of single-precision matrices under each of torch's settings: "high" has
at least the 10 bits of TF32, as many as half precision."""

NEWER_MATMUL_DTYPES = {"tf32": torch.float16, "bf16": torch.bfloat16}
"""The same under the newer settings of a backend."""


def upcast_half(tensor: Tensor) -> Tensor:
    """The same in single precision at least.

    >>> half, double = torch.ones(1, dtype=torch.bfloat16), torch.ones(1).double()
    >>> upcast_half(half).dtype, upcast_half(double).dtype
    (torch.float32, torch.float64)
    """
    return tensor.float() if tensor.dtype in HALF else tensor


def matmul_eps(tensor: Tensor) -> float:
    """The relative rounding error of products of matrices of this tensor's type, on its device."""
    dtype = tensor.dtype
    if dtype == torch.float32:
        dtype = _get_matmul_dtype(tensor.is_cuda)
    return torch.finfo(dtype).eps


def _get_matmul_dtype(on_cuda: bool) -> torch.dtype:
    """The type whose digits products of single-precision matrices have.

    Torch has an older and a newer setting, and refuses to read the older where both were used.
    """
    try:
        dtype = MATMUL_DTYPES[torch.get_float32_matmul_precision()]
    except RuntimeError:
        dtype = torch.float32
    backend = torch.backends.cuda if on_cuda else torch.backends.mkldnn
    setting = getattr(getattr(backend, "matmul", None), "fp32_precision", "none")
    newer = NEWER_MATMUL_DTYPES.get(str(setting), torch.float32)
    return max(dtype, newer, key=lambda candidate: torch.finfo(candidate).eps)
