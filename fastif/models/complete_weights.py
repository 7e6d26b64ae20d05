"""Check that saved weights are those of the model in the configuration."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from transformers import PreTrainedModel

from fastif.errors import InputError

POOLER = "pooler"
"""Module that a base model without pooling lacks; it is randomly initialised like the head."""


def check_layers(
    model: PreTrainedModel, report: Mapping[str, Collection[str]], source: str | Path
) -> None:
    """Refuse saved layers for which the configuration has no place: they would be dropped.

    Weights of other heads, and buffers that older versions saved, may be dropped.

    Raises:
        InputError: With the names of the layers.
    """
    known_names = {_strip_layer_index(name) for name in model.state_dict()}
    dropped = sorted(
        n
        for n in report["unexpected_keys"]
        if _has_layer_index(n) and _strip_layer_index(n) in known_names
    )
    if dropped:
        raise InputError(
            f"model {source}",
            "as many layers in its config.json as in its weights",
            f"more in the weights, such as {dropped[0]}",
            "Correct the number of layers in config.json, or save the model again.",
        )


def check_base(
    model: PreTrainedModel, report: Mapping[str, Collection[str]], source: str | Path
) -> None:
    """Refuse a base model or encoder in which more than head and pooler is randomly initialised.

    Raises:
        InputError: With the names of the missing weights.
    """
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    mismatched = (key if isinstance(key, str) else key[0] for key in report["mismatched_keys"])
    reinitialized = {*report["missing_keys"], *mismatched}
    missing = sorted(n for n in reinitialized if n.startswith(prefix) and POOLER not in n)
    if missing:
        raise InputError(
            f"model {source}",
            "a base with the weights of all its layers",
            f"{len(missing)} weights missing or of another shape, such as {missing[0]}",
            "Name the folder of a pre-trained model with its own config.json.",
        )


def _has_layer_index(name: str) -> bool:
    return re.search(r"\.\d+\.", name) is not None


def _strip_layer_index(name: str) -> str:
    """Return a weight's name without the number of its layer."""
    return re.sub(r"\.\d+\.", ".N.", name)
