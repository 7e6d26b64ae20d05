"""Models and tokenizers from disk or from the hub, refused unless they fit."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from fastif.errors import InputError


def load_model(source: str | Path, labels: Sequence[str] | None = None) -> PreTrainedModel:
    """A classifier from a local folder or, by name, from the hub; never with remote code.

    Raises:
        InputError: it cannot be found, weights are missing, or its head does not have these labels.
    """
    model, report = _from_pretrained(AutoModelForSequenceClassification, source, "model")
    if report["missing_keys"]:
        raise InputError(
            f"model {source}",
            "a trained classifier with all its weights",
            f"no weights for {', '.join(sorted(report['missing_keys']))}",
            "Name a fine-tuned classifier, or train one with `fastif train`.",
        )
    if labels is not None:
        _check_head(model, labels, source)
    return model.eval()


def load_encoder(source: str | Path) -> PreTrainedModel:
    """The layers below a model's head, from a local folder or the hub; never with remote code.

    Raises:
        InputError: it cannot be found.
    """
    model, _ = _from_pretrained(AutoModel, source, "model")
    return model.eval()


def encoder_width(source: str | Path) -> int:
    """Numbers in which a model says what it reads; its weights are not loaded.

    Raises:
        InputError: it cannot be found.
    """
    return _from_pretrained(AutoConfig, source, "config").hidden_size


def load_tokenizer(
    source: str | Path, model: PreTrainedModel | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to the model; not compared with it where it is left out.

    Raises:
        InputError: it cannot be found, or its vocabulary is not the model's.
    """
    tokenizer = _from_pretrained(AutoTokenizer, source, "tokenizer")
    if model is None:
        return tokenizer
    rows, words = model.config.vocab_size, len(tokenizer)
    if words > rows or words < 0.9 * rows:
        raise InputError(
            f"tokenizer {source}",
            f"the vocabulary of the model, {rows} entries",
            f"{words}",
            "Put the files of the tokenizer it was trained with into the model's folder.",
        )
    return tokenizer


def _from_pretrained(auto: type, source: str | Path, what: str):
    folder = Path(source)
    if (str(source).startswith((".", "/", "~")) or len(folder.parts) > 2) and not folder.is_dir():
        raise InputError(
            f"{what} {source}",
            "a folder with a saved model",
            "no such folder",
            "Correct [model] path, or run `fastif train` first.",
        )
    options = {
        "attn_implementation": "eager",
        "output_loading_info": True,
        "use_safetensors": True,  # never unpickle
    }
    options = options if what == "model" else {}
    try:
        with quiet_loading():
            return auto.from_pretrained(str(source), trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"{what} {source}",
            "a local folder with a saved model, or the name of a hub model that can be reached",
            str(error).strip().splitlines()[0],
            "Check the path; without a network, download the model to a folder and name that.",
        ) from error


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Load a model without reports and progress bars; what matters is checked by us."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)


def _check_head(model: PreTrainedModel, labels: Sequence[str], source: str | Path) -> None:
    config = model.config
    if config.num_labels != len(labels):
        raise InputError(
            f"model {source}",
            f"{len(labels)} output units, one a label of the study",
            f"{config.num_labels}",
            "Correct `labels` in the study, or take the model that was trained on them.",
        )
    named = [str(name) for _, name in sorted((config.id2label or {}).items())]
    if set(named) == set(labels) and named != list(labels):
        raise InputError(
            f"model {source}",
            f"labels in the order of the model's output units, {named}",
            f"{list(labels)}",
            "Put `labels` of the study into the model's order.",
        )


def check_length(model: PreTrainedModel, max_length: int) -> None:
    """Refuse a `max_length` that the model has no positions for.

    Raises:
        InputError: naming the longest that it takes.
    """
    positions = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    if not isinstance(positions, nn.Embedding):
        return  # relative positions only
    reserved = 0 if positions.padding_idx is None else positions.padding_idx + 1
    longest = positions.num_embeddings - reserved
    if max_length > longest:
        raise InputError(
            "[model] max_length",
            f"at most {longest}, the positions the model has",
            f"{max_length}",
            f"Set max_length = {longest}; longer texts are cut and counted.",
        )
