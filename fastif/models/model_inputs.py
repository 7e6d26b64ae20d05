"""A batch as keyword arguments of a Hugging Face model."""

import inspect
from functools import cache

from torch import Tensor
from transformers import PreTrainedModel

from fastif.data.examples import Batch

OBJECTIVE_KEYS = frozenset({"labels", "hidden", "mix"})
"""What a batch holds for the objective and not for the model."""
SEGMENTS = "token_type_ids"


def select_model_inputs(model: PreTrainedModel, batch: Batch) -> dict[str, Tensor]:
    """What of a batch the model is given.

    Token types only where it knows more than one: a RoBERTa has a table of a single row, a Llama
    none, and neither was trained on those that a tokenizer of another family makes.
    """
    accepted, others = _read_forward_parameters(type(model))
    num_token_types = getattr(model.config.get_text_config(), "type_vocab_size", None)
    left_out = (
        OBJECTIVE_KEYS
        if SEGMENTS in accepted and num_token_types != 1
        else OBJECTIVE_KEYS | {SEGMENTS}
    )
    return {
        name: tensor
        for name, tensor in batch.items()
        if name not in left_out and (name in accepted or others)
    }


@cache
def _read_forward_parameters(kind: type) -> tuple[frozenset[str], bool]:
    """Names that `forward` takes, and whether it takes others too."""
    parameters = inspect.signature(kind.forward).parameters
    return frozenset(parameters), any(p.kind is p.VAR_KEYWORD for p in parameters.values())
