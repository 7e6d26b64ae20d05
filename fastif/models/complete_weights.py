"""Whether the weights of a folder are those of the model that its configuration describes."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from transformers import PreTrainedModel

from fastif.errors import InputError

POOLER = "pooler"
"""Of a base that was never pooled, drawn anew like the head."""


def check_layers(
    model: PreTrainedModel, report: Mapping[str, Collection[str]], source: str | Path
) -> None:
    """Refuse saved layers that the configuration has no room for: they would be left out.

    Weights of other heads, and what older versions saved beside them, may be left out.

    Raises:
        InputError: naming them.
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
    """Refuse a base, or an encoder, of which more than head and pooler would be drawn at random.

    Raises:
        InputError: naming what it lacks.
    """
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    mismatched = (key if isinstance(key, str) else key[0] for key in report["mismatched_keys"])
    reinitialized = {*report["missing_keys"], *mismatched}
    missing = sorted(n for n in reinitialized if n.startswith(prefix) and POOLER not in n)
    if missing:
        raise InputError(
            f"model {source}",
            "a base with the weights of all its layers",
            f"none, or of another shape, for {len(missing)} of them, such as {missing[0]}",
            "Name the folder of a pre-trained model with its own config.json.",
        )


def _has_layer_index(name: str) -> bool:
    return re.search(r"\.\d+\.", name) is not None


def _strip_layer_index(name: str) -> str:
    """A weight's name without the number of its layer."""
    return re.sub(r"\.\d+\.", ".N.", name)
