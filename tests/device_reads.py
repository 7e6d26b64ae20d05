"""Operations that make the host wait for a simulated device: reads of its numbers or of sizes."""

import torch
from pretended_device import There
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
SIZED_BY_DATA = (
    aten.nonzero,
    aten.masked_select,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
    aten.repeat_interleave,
    aten.bincount,
    aten.equal,
    aten.is_nonzero,
    aten._local_scalar_dense,
    aten.masked_scatter,
)
BY_POSITION = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)
COPIES = (aten._to_copy, aten.copy_)


class DeviceReads(TorchDispatchMode):
    """Within it, the operations are recorded at which the host would wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        packet = func.overloadpacket
        there = [x for x in tree_leaves((args, kwargs)) if isinstance(x, There)]
        out = func(*args, **kwargs)
        if there and (packet in SIZED_BY_DATA or _reads_mask(packet, args)):
            self.reads.append(str(packet))
        elif packet in COPIES and there:
            source, made = (args[1], args[0]) if packet is aten.copy_ else (args[0], out)
            if isinstance(source, There) and not isinstance(made, There):
                self.reads.append(f"{packet} to the host")
        return out


def _reads_mask(packet, args) -> bool:
    """Whether an index is a mask, which has as many positions as it has ones."""
    return packet in BY_POSITION and any(
        isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8)
        for index in args[1]
    )
