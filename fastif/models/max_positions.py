"""Positions: the longest text that a model has them for."""

import torch
from torch import nn
from transformers import PreTrainedModel

from fastif.errors import InputError

SPARE = 8
"""Rows that a table of positions may have beside those that its configuration states."""


def longest_text(model: PreTrainedModel) -> int | None:
    """Tokens for which the model has a table of positions; None if it has no such table.

    Rotary, relative and no positions at all are without limit. Tables are recognised by name and
    by the number of rows that the configuration states.
    """
    config = model.config.get_text_config()
    stated = getattr(config, "max_position_embeddings", None)
    if not isinstance(stated, int) or _turned(config):
        return None
    tables = [rows for name, rows in _tables(model) if _names_positions(name)]
    rows = [(count, kept) for count, kept in tables if 0 <= count - stated <= SPARE]
    return min((min(stated, count - kept) for count, kept in rows), default=None)


def check_length(model: PreTrainedModel, max_length: int) -> None:
    """Refuse a `max_length` that the model has no positions for.

    Raises:
        InputError: naming the longest that it takes.
    """
    longest = longest_text(model)
    if longest is not None and max_length > longest:
        raise InputError(
            "[model] max_length",
            f"at most {longest}, the positions the model has",
            f"{max_length}",
            f"Set max_length = {longest}; longer texts are cut and counted.",
        )


def _tables(model: PreTrainedModel) -> list[tuple[str, tuple[int, int]]]:
    """Rows of every table, and how many of them stand for no position."""
    found = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            kept = 0 if module.padding_idx is None else module.padding_idx + 1
            found.append((name, (module.num_embeddings, kept)))
        plain = {**module._parameters, **module._buffers, **vars(module)}
        for own, tensor in plain.items():
            if torch.is_tensor(tensor) and tensor.dim() == 2 and tensor.is_floating_point():
                found.append((f"{name}.{own}", (len(tensor), 0)))
    return found


def _names_positions(name: str) -> bool:
    last = name.removesuffix(".weight").rpartition(".")[2].lower()
    return ("pos" in last or last == "wpe") and "rel" not in last


def _turned(config: object) -> bool:
    """Whether positions turn the hidden states and a table is there for nothing."""
    return str(getattr(config, "position_embedding_type", "")).startswith(("rot", "rope"))
