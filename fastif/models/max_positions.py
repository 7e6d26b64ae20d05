"""Maximum text length of a model, by its table of positions."""

import torch
from torch import nn
from transformers import PreTrainedModel

from fastif.errors import InputError

MAX_EXTRA_ROWS = 8
"""Rows that a table of positions may have beyond those in its configuration."""


def find_max_length(model: PreTrainedModel) -> int | None:
    """Return the number of tokens in the model's table of positions; None without such a table.

    Rotary, relative and missing positions have no limit. Tables are recognised by name and by the
    number of rows in the configuration.
    """
    config = model.config.get_text_config()
    stated = getattr(config, "max_position_embeddings", None)
    if not isinstance(stated, int) or _has_rotary_positions(config):
        return None
    tables = [rows for name, rows in _find_tables(model) if _is_position_name(name)]
    rows = [
        (count, reserved) for count, reserved in tables if 0 <= count - stated <= MAX_EXTRA_ROWS
    ]
    return min((min(stated, count - reserved) for count, reserved in rows), default=None)


def check_length(model: PreTrainedModel, max_length: int) -> None:
    """Refuse a `max_length` above the model's number of positions.

    Raises:
        InputError: With the maximum length.
    """
    longest = find_max_length(model)
    if longest is not None and max_length > longest:
        raise InputError(
            "[model] max_length",
            f"at most {longest}, the positions the model has",
            f"{max_length}",
            f"Set max_length = {longest}; longer texts are truncated and counted.",
        )


def _find_tables(model: PreTrainedModel) -> list[tuple[str, tuple[int, int]]]:
    """Return the rows of every table, and how many of them are reserved."""
    tables = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            reserved = 0 if module.padding_idx is None else module.padding_idx + 1
            tables.append((name, (module.num_embeddings, reserved)))
        tensors = {**module._parameters, **module._buffers, **vars(module)}
        for attribute, tensor in tensors.items():
            if torch.is_tensor(tensor) and tensor.dim() == 2 and tensor.is_floating_point():
                tables.append((f"{name}.{attribute}", (len(tensor), 0)))
    return tables


def _is_position_name(name: str) -> bool:
    last = name.removesuffix(".weight").rpartition(".")[2].lower()
    return ("pos" in last or last == "wpe") and "rel" not in last


def _has_rotary_positions(config: object) -> bool:
    """Whether positions rotate the hidden states, so that a table is unused."""
    return str(getattr(config, "position_embedding_type", "")).startswith(("rot", "rope"))
