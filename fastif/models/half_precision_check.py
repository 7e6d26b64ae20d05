"""Refusal of models that compute in half precision with weights in single precision."""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fastif.errors import InputError
from fastif.models.nondeterministic_module import Trace, find_half_precision_module
from fastif.models.objective import Objective
from fastif.models.same_outputs import (
    ForwardFn,
)


def make_half_precision_error(
    objective: Objective, run: ForwardFn, dtypes: set[torch.dtype], prefix: str = ""
) -> InputError:
    """Return the error with the name of the first module that computes in half precision.

    Args:
        objective: Model to describe.
        run: Function that runs the model once more.
        dtypes: Half-precision types that occurred.
        prefix: Text before the module's name, such as "the backward pass of ".
    """
    with Trace().record(objective.module) as trace:
        run()
    dtype_names = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
    weight_dtype = str(objective.like.dtype).removeprefix("torch.")
    return InputError(
        prefix + (find_half_precision_module(trace) or type(objective.module).__name__),
        f"computation in the precision of the weights, {weight_dtype}",
        f"numbers of {dtype_names}",
        "Switch autocast off in evaluation: torch.autocast(..., enabled=self.training).",
    )


def check_autocast(objective: Objective) -> None:
    """Refuse to run inside of `torch.autocast`."""
    device = objective.like.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        raise InputError(
            "torch.autocast",
            "computation in the precision of the weights",
            f"autocast to {torch.get_autocast_dtype(device)} around the call",
            "Call fastif outside of autocast.",
        )


class DtypeRecorder(TorchDispatchMode):
    """Dispatch mode that records the floating-point types of all results."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        results = func(*args, **(kwargs or {}))
        for tensor in results if isinstance(results, tuple | list) else (results,):
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                self.dtypes.add(tensor.dtype)
        return results
