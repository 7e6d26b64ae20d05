"""Buffers of timm models that are not saved: tables of positions, which loading leaves unset."""

import torch
from transformers import PreTrainedModel


def restore_buffers(model: PreTrainedModel) -> None:
    """Set the buffers that are not saved to those of a new model of the same configuration.

    Transformers allocates them without a value and asks the layers of timm to fill them, which
    those of many versions cannot: relative positions of Swin then have random values.

    Args:
        model: Model of timm as it was loaded, changed in place.
    """
    saved = model.state_dict().keys()
    unsaved = {name: buffer for name, buffer in model.named_buffers() if name not in saved}
    if not unsaved:
        return
    with torch.random.fork_rng(devices=[]):
        fresh = dict(type(model)(model.config).named_buffers())
    for name, buffer in unsaved.items():
        buffer.data = fresh[name].to(buffer)
