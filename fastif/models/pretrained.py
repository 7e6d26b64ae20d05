"""Models and tokenizers from a folder or the Hugging Face hub, with weights and labels checked."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from fastif.errors import InputError
from fastif.models.adapter import attach_adapter
from fastif.models.adapter_folder import (
    ADAPTER_CONFIG,
    MERGE,
    AdapterFolder,
    has_tokenizer,
    is_adapter,
)
from fastif.models.complete_weights import check_base, check_layers
from fastif.models.dequantised_base import METHOD, dequantise, list_missing_packages
from fastif.models.head_check import check_head
from fastif.models.max_positions import find_max_length
from fastif.models.parameters import check_finite
from fastif.models.problem_type import SINGLE_LABEL
from fastif.models.saved_parts import from_pretrained, quiet_loading
from fastif.models.weight_files import (
    suggest_classifier,
)

MAX_DIFFERING = 0.1
"""Largest share of tokens that an adapter's tokenizer may have in other places than its base's."""


def load_model(
    source: str | Path,
    labels: Sequence[str] | None = None,
    dtype: torch.dtype | None = torch.float32,
    problem_type: str = SINGLE_LABEL,
) -> PreTrainedModel:
    """Load a fine-tuned sequence classifier from a folder or the Hugging Face hub, and check it.

    Only safetensors are read, and remote code is never run. The model is in evaluation mode. A
    folder may hold a LoRA adapter of PEFT, which names its base.

    Args:
        source: Folder of a saved model, or its name on the hub.
        labels: Label names that the output units must have, in this order; unchecked if None.
        dtype: Type of the weights in memory; None keeps the type in which they were saved.
        problem_type: Problem type that a model with `labels` must have, in the words of
            transformers.

    Raises:
        InputError: If the model cannot be found, weights are missing, its head has other labels or
            another order, or it was trained on another problem type.
    """
    if not is_adapter(source):
        return load_classifier(
            AutoModelForSequenceClassification, source, labels, dtype, problem_type
        )
    model = _load_with_adapter(AdapterFolder(source), dtype)
    if labels is not None:
        check_head(model, labels, source, problem_type)
    return model.eval()


def load_classifier(
    auto: type,
    source: str | Path,
    labels: Sequence[str] | None,
    dtype: torch.dtype | None = torch.float32,
    problem_type: str = SINGLE_LABEL,
) -> PreTrainedModel:
    """Load a fine-tuned classifier by a class of transformers and check it, as `load_model` does.

    Args:
        auto: Class that loads the model, such as AutoModelForImageClassification.
        source: Folder of a saved model, or its name on the hub.
        labels: Label names that the output units must have, in this order; unchecked if None.
        dtype: Type of the weights in memory; None keeps the type in which they were saved.
        problem_type: Problem type that a model with `labels` must have.

    Raises:
        InputError: See `load_model`.
    """
    model, report = from_pretrained(auto, source, "model", dtype)
    if report["missing_keys"]:
        raise InputError(
            f"model {source}",
            "a trained classifier with all its weights",
            f"no weights for {', '.join(sorted(report['missing_keys']))}",
            suggest_classifier(Path(source)),
        )
    check_layers(model, report, source)
    if labels is not None:
        check_head(model, labels, source, problem_type)
    return model.eval()


def _load_with_adapter(source: AdapterFolder, dtype: torch.dtype | None) -> PreTrainedModel:
    quantisation = source.quantisation
    if quantisation:
        _check_quantisation(source, str(quantisation.get("quant_method", "unknown")))
    base, report = from_pretrained(
        AutoModelForSequenceClassification,
        source.base_folder,
        "model",
        dtype,
        ignore_mismatched_sizes=True,  # the adapter has the head of its labels
        **({"device_map": "cpu"} if quantisation else {}),
        **source.read_labels(),
    )
    if quantisation:
        base = dequantise(base, quantisation)
    check_layers(base, report, source.base_folder)
    return attach_adapter(base, source, _list_random(report))


def _check_quantisation(source: AdapterFolder, method: str) -> None:
    """Refuse a quantised base that cannot be dequantised here."""
    missing = list_missing_packages() if method == METHOD else []
    if method == METHOD and not missing:
        return
    install = 'install what dequantises it: pip install "fastif[quantised]"'
    raise InputError(
        source.where,
        "a base with weights of floating point",
        f"{source.base_folder}, quantised ({method})"
        + (f", without the package {missing[0]}" if missing else ""),
        f"Name the base in 16 or 32 bits in {ADAPTER_CONFIG}; the adapter fits it."
        + (f" Or {install}" if missing else ""),
    )


def _list_random(report: Mapping[str, Collection[Any]]) -> frozenset[str]:
    """Return the names of weights that were not loaded, since they are missing or do not fit."""
    mismatched = (key if isinstance(key, str) else key[0] for key in report["mismatched_keys"])
    return frozenset({*report["missing_keys"], *mismatched})


def load_base(
    source: str | Path,
    labels: Sequence[str],
    problem_type: str | None = None,
    auto: type = AutoModelForSequenceClassification,
) -> PreTrainedModel:
    """Load a model to fine-tune, in single precision, with a head of one unit for each label.

    The head is randomly initialised, even if the source has one for other labels. So is a pooler
    that the source lacks.

    Args:
        source: Folder of a saved model, or its name on the hub.
        labels: Label names of the output units.
        problem_type: Problem type that is written into the configuration; None for one class a
            row.
        auto: Class that loads the model, such as AutoModelForTokenClassification.

    Returns:
        The model, with the names of its random weights as `random_names`.

    Raises:
        InputError: If the model cannot be found, has no classification head, or lacks other
            weights.
    """
    if is_adapter(source):
        raise InputError(f"model {source}", "a base to train", "an adapter", MERGE)
    model, report = from_pretrained(
        auto,
        source,
        "model",
        torch.float32,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: unit for unit, label in enumerate(labels)},
        problem_type=problem_type,  # the base was trained on another task
        ignore_mismatched_sizes=True,  # a head of other labels is initialised again
    )
    check_base(model, report, source)
    model.random_names = _list_random(report)
    return model.eval()


def load_encoder(source: str | Path) -> PreTrainedModel:
    """Load the layers below a model's head, from a folder or the hub; remote code is never run.

    Raises:
        InputError: If the model cannot be found, lacks weights, or some are not finite.
    """
    if is_adapter(source):
        adapted = _load_with_adapter(AdapterFolder(source), torch.float32)
        model = getattr(adapted, adapted.base_model_prefix)
    else:
        model, report = from_pretrained(AutoModel, source, "model", torch.float32)
        check_base(model, report, source)
    check_finite(model, f"model {source}")
    return select_encoder(model.eval())


def select_encoder(model: PreTrainedModel) -> PreTrainedModel:
    """Return the encoder of an encoder-decoder model, whose decoder needs texts of its own."""
    return model.get_encoder() if model.config.is_encoder_decoder else model  # type: ignore[return-value]


def read_encoder_width(source: str | Path) -> int:
    """Read the size of a model's hidden states, without loading its weights.

    Raises:
        InputError: If the configuration cannot be found.
    """
    return from_pretrained(AutoConfig, _find_base(source), "config").get_text_config().hidden_size


def read_encoder_max_length(source: str | Path) -> int | None:
    """Read the maximum number of tokens of a model, None for any; its weights are not loaded.

    Raises:
        InputError: If the configuration cannot be found.
    """
    config = from_pretrained(AutoConfig, _find_base(source), "config")
    with quiet_loading(), torch.device("meta"):
        return find_max_length(AutoModel.from_config(config))


def load_tokenizer(
    source: str | Path, model: PreTrainedModel | None = None
) -> PreTrainedTokenizerBase:
    """Load a tokenizer and compare its vocabulary with the model's.

    Args:
        source: Folder of a saved tokenizer, or its name on the hub.
        model: Model to compare with; no comparison if omitted.

    Raises:
        InputError: If the tokenizer cannot be found, or has another vocabulary than the model.
    """
    adapter = AdapterFolder(source) if is_adapter(source) else None
    folder = source if adapter is None else adapter.tokenizer_folder
    tokenizer = from_pretrained(AutoTokenizer, folder, "tokenizer")
    if adapter is not None:
        _check_base_vocabulary(adapter, tokenizer)
    if model is None:
        return tokenizer
    num_embeddings = getattr(model.config.get_text_config(), "vocab_size", None)
    num_tokens = len(tokenizer)
    if num_embeddings is not None and (
        num_tokens > num_embeddings or num_tokens < 0.9 * num_embeddings
    ):
        raise InputError(
            f"tokenizer {source}",
            f"the vocabulary of the model, {num_embeddings} entries",
            f"{num_tokens}",
            "Copy the files of the tokenizer that it was trained with into the model's folder.",
        )
    return tokenizer


def _check_base_vocabulary(adapter: AdapterFolder, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a base of another vocabulary, whose matrices may fit the adapter all the same."""
    base = adapter.base_folder
    if adapter.tokenizer_folder == base or not has_tokenizer(base):
        return
    tokens = {unit: token for token, unit in tokenizer.get_vocab().items()}
    expected = from_pretrained(AutoTokenizer, base, "tokenizer").get_vocab()
    differing = sum(tokens.get(unit, token) != token for token, unit in expected.items())
    if differing > MAX_DIFFERING * len(expected):
        raise InputError(
            adapter.where,
            f"the vocabulary of its base {base}",
            f"a tokenizer with {differing:,} of {len(expected):,} tokens in other places",
            f"Correct base_model_name_or_path in its {ADAPTER_CONFIG}.",
        )


def _find_base(source: str | Path) -> str | Path:
    """Return the folder of an adapter's base, or the source itself if it is no adapter."""
    return AdapterFolder(source).base_folder if is_adapter(source) else source
