"""Probe batches of random tokens, in rows of different lengths, for trial runs of a model."""

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from fastif.data.examples import Batch, Examples
from fastif.errors import InputError
from fastif.models.model_inputs import SEGMENTS

ROW_LENGTHS = (8, 3, 5, 8)
"""Lengths of the rows; two are equal, to test rows of equal length together as well."""
EXTRA_LENGTH = 9
"""Additional tokens for models that cannot read such short texts."""
SPECIAL_TOKENS = ("pad", "bos", "eos", "cls", "sep", "mask", "unk", "decoder_start")
MAX_TOKEN_IDS = 1000


def make_unreadable_error(name: str, error: Exception) -> InputError:
    """Return the error of a model that cannot read a row of the study."""
    return InputError(
        name,
        "outputs for each row of the study's tables",
        f"{type(error).__name__}: {error}".splitlines()[0],
        "Check that tokenizer and model belong together, and [model] max_length.",
    )


def make_dependence_error(name: str) -> InputError:
    """Return the error of a model whose outputs for a text depend on other texts."""
    return InputError(
        name,
        "outputs of a text that do not depend on the other texts of its batch",
        "outputs in a batch of equal lengths that differ from those of single texts",
        "Look for batch statistics or randomness in the model in evaluation mode.",
    )


def make_probe_batches(model: PreTrainedModel) -> list[Batch]:
    """Return batches of ordinary tokens: without and with a final end-of-text token, and longer.

    Some heads require an end-of-text token, and some models a minimum length. The last ones have no
    token types, of which some models need several for each token.
    """
    eos = _read_special_tokens(model).get("eos")
    last_tokens = (None,) if eos is None else (None, eos)
    rows = [_make_rows(model, end, longer) for longer in (0, EXTRA_LENGTH) for end in last_tokens]
    return rows + [{name: row[name] for name in row if name != SEGMENTS} for row in rows]


def select_probe_rows(examples: Examples, count: int) -> Int[Tensor, " m"]:
    """Return the positions of a few examples, from the shortest to the longest.

    Two of them have similar lengths.
    """
    order = torch.argsort(examples.lengths, stable=True)
    places = torch.linspace(0, len(order) - 1, count - 1).long()
    return order[torch.cat([places, places[-1:] - 1]).clamp_min(0).unique()]


def _make_rows(model: PreTrainedModel, last: int | None, longer: int) -> Batch:
    special, num_token_ids = set(_read_special_tokens(model).values()), _count_token_ids(model)
    ordinary = torch.tensor([i for i in range(num_token_ids) if i not in special] or [0])
    lengths, width = torch.tensor(ROW_LENGTHS) + longer, max(ROW_LENGTHS) + longer
    generator = torch.Generator().manual_seed(0)
    ids = ordinary[torch.randint(len(ordinary), (len(ROW_LENGTHS), width), generator=generator)]
    if last is not None:
        ids[torch.arange(len(ROW_LENGTHS)), lengths - 1] = last
    mask = (torch.arange(width) < lengths[:, None]).long()
    batch = {
        "input_ids": ids * mask,
        "attention_mask": mask,
        "token_type_ids": (torch.arange(width) >= lengths[:, None] // 2).long() * mask,
        "labels": torch.zeros(len(ROW_LENGTHS), dtype=torch.long),
    }
    device = next(model.parameters()).device
    return {name: tensor.to(device) for name, tensor in batch.items()}


def _count_token_ids(model: PreTrainedModel) -> int:
    return min(getattr(model.config.get_text_config(), "vocab_size", MAX_TOKEN_IDS), MAX_TOKEN_IDS)


def _read_special_tokens(model: PreTrainedModel) -> dict[str, int]:
    """Return the ids of special tokens in the configuration."""
    config = model.config.get_text_config()
    ids = {name: getattr(config, f"{name}_token_id", None) for name in SPECIAL_TOKENS}
    return {name: token_id for name, token_id in ids.items() if isinstance(token_id, int)}
