"""Attention masks of transformers, made without a read of the padding by the host.

transformers leaves a mask out if a batch has no padding, and reads the padding from the device to
find that. While checks are deferred, every mask is made; the outputs are equal.
"""

from collections.abc import Callable
from functools import wraps

from transformers import masking_utils

from fastif.numerics.deferred_checks import is_deferred

_DECISIONS = ("_ignore_bidirectional_mask_sdpa", "_ignore_causal_mask_sdpa")
"""Functions of transformers that decide whether a mask is left out; others leave nothing out."""


def install_mask_decisions() -> None:
    """Replace the functions of transformers that decide whether a mask is left out, once."""
    for name in _DECISIONS:
        decide = getattr(masking_utils, name, None)
        if decide is not None and not hasattr(decide, "__wrapped__"):
            setattr(masking_utils, name, _keep_deferred_masks(decide))


def _keep_deferred_masks(decide: Callable[..., bool]) -> Callable[..., bool]:
    """Return a decision that keeps the mask of a device on which checks are deferred."""

    @wraps(decide)
    def decide_unread(padding_mask, *args, **kwargs) -> bool:
        if padding_mask is not None and is_deferred(padding_mask.device):
            return False
        return decide(padding_mask, *args, **kwargs)

    return decide_unread
