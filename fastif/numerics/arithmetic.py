"""Floating-point precision of computations, and the size of their rounding errors."""

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)
"""Types in which no loss, Hessian factor or sum is computed."""

MATMUL_DTYPES = {"highest": torch.float32, "high": torch.float16, "medium": torch.bfloat16}
"""Type with the precision of single-precision matrix products, by torch's setting.

"high" has at least the 10 mantissa bits of TF32, as many as half precision.
"""

NEWER_MATMUL_DTYPES = {"tf32": torch.float16, "bf16": torch.bfloat16}
"""Type with the precision of matrix products, by the newer settings of a backend."""


def upcast_half(tensor: Tensor) -> Tensor:
    """Convert half precision to single precision; other types are unchanged.

    Examples:
        >>> half, double = torch.ones(1, dtype=torch.bfloat16), torch.ones(1).double()
        >>> upcast_half(half).dtype, upcast_half(double).dtype
        (torch.float32, torch.float64)
    """
    return tensor.float() if tensor.dtype in HALF else tensor


def matmul_eps(tensor: Tensor) -> float:
    """Relative rounding error of matrix products of this tensor's type, on its device."""
    dtype = tensor.dtype
    if dtype == torch.float32:
        dtype = _get_matmul_dtype(tensor.is_cuda)
    return torch.finfo(dtype).eps


def _get_matmul_dtype(on_cuda: bool) -> torch.dtype:
    """Type with the effective precision of single-precision matrix products.

    Torch has an older and a newer setting, and refuses to read the older one after use of both.
    """
    try:
        dtype = MATMUL_DTYPES[torch.get_float32_matmul_precision()]
    except RuntimeError:
        dtype = torch.float32
    backend = torch.backends.cuda if on_cuda else torch.backends.mkldnn
    setting = getattr(getattr(backend, "matmul", None), "fp32_precision", "none")
    newer = NEWER_MATMUL_DTYPES.get(str(setting), torch.float32)
    return max(dtype, newer, key=lambda candidate: torch.finfo(candidate).eps)
