"""Bases in 4 or 8 bits (QLoRA, Dettmers et al., 2023), dequantised to floating point."""

import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from transformers import PreTrainedModel

METHOD = "bitsandbytes"
"""The only quantisation that is dequantised."""
PACKAGES = (METHOD, "accelerate")
"""Packages that read its weights."""


def list_missing_packages() -> list[str]:
    """Return the packages that dequantisation needs and that are not installed."""
    return [name for name in PACKAGES if find_spec(name) is None]


def dequantise(model: PreTrainedModel, settings: Mapping[str, Any]) -> PreTrainedModel:
    """Return a model whose layers have the values of its 4 or 8 bits as floating-point weights.

    In 4 bits the outputs are those of the quantised model up to rounding, since its layers are
    dequantised in every pass too. In 8 bits that model also rounds activations, which is left out.

    Args:
        model: Model as transformers loads it by bitsandbytes.
        settings: Entry `quantization_config` of its configuration.

    Returns:
        The model, with a sentence on it as `quantisation_note`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dense = model.dequantize()
    bits = "4" if settings.get("load_in_4bit") else "8"
    note = f"the layers of its base in {bits} bits are dequantised"
    dense.quantisation_note = note if bits == "4" else f"{note}, without rounded activations"
    return dense
