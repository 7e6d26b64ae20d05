"""A batch as keyword arguments of a Hugging Face model."""

import inspect
from functools import cache

from torch import Tensor
from transformers import PreTrainedModel

from fastif.data.examples import Batch

OURS = frozenset({"labels", "hidden", "mix"})
"""What a batch holds for the objective and not for the model."""
SEGMENTS = "token_type_ids"


def inputs_of(model: PreTrainedModel, batch: Batch) -> dict[str, Tensor]:
    """What of a batch the model is given.

    Token types only where it knows more than one: a RoBERTa has a table of a single row, a Llama
    none, and neither was trained on those that a tokenizer of another family makes.
    """
    accepted, others = _parameters(type(model))
    kinds = getattr(model.config.get_text_config(), "type_vocab_size", None)
    left_out = OURS if SEGMENTS in accepted and kinds != 1 else OURS | {SEGMENTS}
    return {
        name: tensor
        for name, tensor in batch.items()
        if name not in left_out and (name in accepted or others)
    }


@cache
def _parameters(kind: type) -> tuple[frozenset[str], bool]:
    """Names that `forward` takes, and whether it takes others too."""
    found = inspect.signature(kind.forward).parameters
    return frozenset(found), any(p.kind is p.VAR_KEYWORD for p in found.values())
