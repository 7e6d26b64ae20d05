"""Token classifiers and their tokenizers from a folder or the Hugging Face hub."""

from collections.abc import Sequence
from pathlib import Path

from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from fastif.errors import InputError
from fastif.models.adapter_folder import MERGE, is_adapter
from fastif.models.pretrained import load_base, load_classifier, load_tokenizer
from fastif.models.saved_parts import from_pretrained

TOKEN_CLASSIFIER = "ForTokenClassification"
"""End of the names of token classifiers in `architectures` of a configuration."""


def load_token_classifier(source: str | Path, labels: Sequence[str]) -> PreTrainedModel:
    """Load a fine-tuned token classifier and check it, as `load_model` does.

    Args:
        source: Folder of a saved model, or its name on the hub.
        labels: Tags that the output units must have, in this order.

    Raises:
        InputError: The model is another one than a token classifier, an adapter, or refused by
            `load_model`.
    """
    if is_adapter(source):
        raise InputError(f"model {source}", "a whole token classifier", "an adapter", MERGE)
    architectures = read_architectures(source)
    if not architectures or not all(name.endswith(TOKEN_CLASSIFIER) for name in architectures):
        raise InputError(
            f"model {source}",
            f"a token classifier, {TOKEN_CLASSIFIER} in architectures of its config.json",
            ", ".join(architectures) or "no architectures",
            'Use a model that was trained on tags, or correct `target`, which is "tags".',
        )
    return load_classifier(AutoModelForTokenClassification, source, labels)


def check_sequence_classifier(source: str | Path) -> None:
    """Refuse a token classifier where a classifier of whole texts is expected.

    Raises:
        InputError: With the name of its class.
    """
    if is_adapter(source):
        return
    tokens = [name for name in read_architectures(source) if name.endswith(TOKEN_CLASSIFIER)]
    if tokens:
        raise InputError(
            f"model {source}",
            "a classifier of whole texts",
            f"{tokens[0]}, which classifies words",
            'Set target = "tags", or use another model.',
        )


def read_architectures(source: str | Path) -> list[str]:
    """Read the names of the model classes that a configuration states; no weights are loaded."""
    config = from_pretrained(AutoConfig, source, "config")
    return [str(name) for name in config.architectures or ()]


def load_token_base(source: str | Path, labels: Sequence[str]) -> PreTrainedModel:
    """Load a model to fine-tune on tags, with a new head of one unit for each; see `load_base`."""
    return load_base(source, labels, auto=AutoModelForTokenClassification)


def load_word_tokenizer(
    source: str | Path, model: PreTrainedModel | None = None
) -> PreTrainedTokenizerBase:
    """Load a tokenizer that reads lists of words, and compare its vocabulary with the model's.

    Byte-level tokenizers read lists of words with a space before each word only, so they are loaded
    with it, as they were for the training.

    Args:
        source: Folder of a saved tokenizer, or its name on the hub.
        model: Model to compare with; no comparison if omitted.

    Raises:
        InputError: See `load_tokenizer`.
    """
    tokenizer = load_tokenizer(source, model)
    if getattr(tokenizer, "add_prefix_space", None) is not False:
        return tokenizer
    return from_pretrained(AutoTokenizer, source, "tokenizer", add_prefix_space=True)
