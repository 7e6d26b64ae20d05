"""Keyword arguments of a Hugging Face model, selected from a batch."""

import inspect
from functools import cache

from torch import Tensor
from transformers import PreTrainedModel

from fastif.data.examples import Batch

OBJECTIVE_KEYS = frozenset({"labels", "hidden", "mix", "slots"})
"""Keys of a batch that are for the objective and not for the model."""
SEGMENTS = "token_type_ids"


def select_model_inputs(model: PreTrainedModel, batch: Batch) -> dict[str, Tensor]:
    """Select the tensors of a batch that the model's forward pass accepts.

    Token types are passed only to a model with more than one: a RoBERTa has a table of one row, a
    Llama has none, and neither was trained on those of another family's tokenizer.
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
    """Return the names that `forward` accepts, and whether it accepts others too."""
    parameters = inspect.signature(kind.forward).parameters
    return frozenset(parameters), any(p.kind is p.VAR_KEYWORD for p in parameters.values())
