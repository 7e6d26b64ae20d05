"""Refusal of a model that computes in half precision where its weights are of single precision."""

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
    """The refusal, which names the first module that computes so; `run` runs the model once more.

    Args:
        objective: the model.
        run: makes its outputs.
        dtypes: of half precision, that were seen.
        prefix: what of the module, such as its backward pass.
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
    """Refuse to work inside somebody's autocast."""
    device = objective.like.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        raise InputError(
            "torch.autocast",
            "computation in the precision of the weights",
            f"autocast to {torch.get_autocast_dtype(device)} around the call",
            "Call fastif outside of autocast.",
        )


class DtypeRecorder(TorchDispatchMode):
    """Notes in which floating types something is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        results = func(*args, **(kwargs or {}))
        for tensor in results if isinstance(results, tuple | list) else (results,):
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                self.dtypes.add(tensor.dtype)
        return results
