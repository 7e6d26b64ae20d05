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
    kinds = {_kind(name) for name in model.state_dict()}
    left_out = sorted(n for n in report["unexpected_keys"] if _number(n) and _kind(n) in kinds)
    if left_out:
        raise InputError(
            f"model {source}",
            "as many layers in its config.json as in its weights",
            f"more in the weights, such as {left_out[0]}",
            "Correct the number of layers in config.json, or save the model again.",
        )


def check_base(
    model: PreTrainedModel, report: Mapping[str, Collection[str]], source: str | Path
) -> None:
    """Refuse a base, or an encoder, of which more than head and pooler would be drawn at random.

    Raises:
        InputError: naming what it lacks.
    """
    inside = "" if model.base_model is model else f"{model.base_model_prefix}."
    others = (key if isinstance(key, str) else key[0] for key in report["mismatched_keys"])
    anew = {*report["missing_keys"], *others}
    lacks = sorted(n for n in anew if n.startswith(inside) and POOLER not in n)
    if lacks:
        raise InputError(
            f"model {source}",
            "a base with the weights of all its layers",
            f"none, or of another shape, for {len(lacks)} of them, such as {lacks[0]}",
            "Name the folder of a pre-trained model with its own config.json.",
        )


def _number(name: str) -> bool:
    return re.search(r"\.\d+\.", name) is not None


def _kind(name: str) -> str:
    """A weight's name without the number of its layer."""
    return re.sub(r"\.\d+\.", ".N.", name)
