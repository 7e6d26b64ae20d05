"""A simulated device: its tensors compute on the CPU, and mixing the two is an error.

Code for a GPU is tested without one. Within `Elsewhere()` tensors made on
`DEVICE` (torch's "meta", which is otherwise not used here) carry a CPU tensor. Every operation is
checked: mixing its tensors with CPU tensors raises, except where CUDA allows it: copies, single
numbers, and CPU positions of a tensor on the device.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")

aten = torch.ops.aten
COPIES = (aten._to_copy.default, aten.copy_.default)
BY_POSITION = (
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
)


class MixedDevicesError(RuntimeError):
    """What torch would raise on a GPU."""


class There(torch.Tensor):
    """A tensor of that device."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=DEVICE,
        )

    def __init__(self, inner):
        self.inner = inner

    def __repr__(self, **_):
        return f"There({self.inner})"

    def tolist(self):
        return self.cpu().tolist()

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    """Within it there is such a device."""

    def __enter__(self):
        self._before = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        return super().__enter__()

    def __exit__(self, *problem):
        torch.__future__.set_overwrite_module_params_on_conversion(self._before)
        return super().__exit__(*problem)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _run(func, args, kwargs):
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, There)]
    if there and _is_mixed(func, args, tensors):
        raise MixedDevicesError(f"{func} of tensors on two devices")
    device = kwargs.get("device")
    here_then = {} if device is None else {"device": torch.device("cpu")}
    out = func(*tree_map(_inner, args), **{**tree_map(_inner, kwargs), **here_then})
    goes_there = bool(there) if device is None else torch.device(device) == DEVICE
    if not goes_there:
        return out
    known = {id(tensor.inner): tensor for tensor in there}
    out = tree_map(lambda x: known.get(id(x)) if id(x) in known else _outer(x), out)
    # So that views and changes in place are what autograd takes them for.
    return return_and_correct_aliasing(func, args, kwargs, out) if there and not device else out


def _is_mixed(func, args, tensors):
    if func in COPIES:
        return False
    if func in BY_POSITION:
        values = args[2] if len(args) > 2 else args[0]
        return not isinstance(args[0], There) or not (isinstance(values, There) or not values.ndim)
    return any(tensor.ndim > 0 and not isinstance(tensor, There) for tensor in tensors)


def _inner(x):
    return x.inner if isinstance(x, There) else x


def _outer(x):
    return There(x) if isinstance(x, torch.Tensor) and not isinstance(x, There) else x
