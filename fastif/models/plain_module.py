"""Plain modules: without wrappers, with weights of floating point in single precision or better."""

import copy
from typing import TypeVar

import torch
from torch import nn

from fastif.errors import InputError
from fastif.numerics.arithmetic import HALF

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def unwrap_module(module: nn.Module) -> nn.Module:
    """Return the module inside of wrappers for several devices or for a compiler."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while isinstance(module, wrappers) or hasattr(module, "_orig_mod"):
        module = getattr(module, "_orig_mod", None) or getattr(module, "module")  # noqa: B009
    return module


def check_quantised(module: nn.Module) -> None:
    """Refuse layers with integer weights, which have no gradient.

    Raises:
        InputError: With the name of the first such layer.
    """
    for name, layer in module.named_modules():
        weights = [p for p in layer.parameters(recurse=False) if not p.is_floating_point()]
        if weights or ".quantized" in type(layer).__module__:
            raise InputError(
                type(module).__name__,
                "weights of floating point",
                f"the quantised layer {name or 'itself'} ({type(layer).__name__})",
                "Use the model before quantisation.",
            )


def upcast_module(module: AnyModule) -> AnyModule:
    """Return the module, or a copy in single precision if some of it is in half precision."""
    tensors = (*module.parameters(), *module.buffers())
    if not any(tensor.dtype in HALF for tensor in tensors):
        return module
    wide = any(tensor.dtype == torch.float64 for tensor in tensors)
    return copy.deepcopy(module).to(torch.float64 if wide else torch.float32)
