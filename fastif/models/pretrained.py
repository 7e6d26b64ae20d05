"""Models and tokenizers from a folder or the Hugging Face hub, with weights and labels checked."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from transformers.utils import logging as transformers_logging

from fastif.errors import InputError
from fastif.models.adapter import attach_adapter
from fastif.models.adapter_folder import MERGE, AdapterFolder, is_adapter
from fastif.models.complete_weights import check_base, check_layers
from fastif.models.head_check import check_head
from fastif.models.max_positions import find_max_length
from fastif.models.parameters import check_finite
from fastif.models.weight_files import (
    check_weight_types,
    find_damaged_file,
    saved_dtypes,
    suggest_classifier,
    suggest_remedy,
)


def load_model(
    source: str | Path,
    labels: Sequence[str] | None = None,
    dtype: torch.dtype | None = torch.float32,
) -> PreTrainedModel:
    """Load a fine-tuned sequence classifier from a folder or the Hugging Face hub, and check it.

    Only safetensors are read, and remote code is never run. The model is in evaluation mode. A
    folder may hold a LoRA adapter of PEFT, which names its base.

    Args:
        source: Folder of a saved model, or its name on the hub.
        labels: Label names that the output units must have, in this order; unchecked if None.
        dtype: Type of the weights in memory; None keeps the type in which they were saved.

    Raises:
        InputError: If the model cannot be found, weights are missing, its head has other labels or
            another order, or it was trained on several labels for each row or on regression.
    """
    if not is_adapter(source):
        return load_classifier(AutoModelForSequenceClassification, source, labels, dtype)
    model = _load_with_adapter(AdapterFolder(source), dtype)
    if labels is not None:
        check_head(model, labels, source)
    return model.eval()


def load_classifier(
    auto: type,
    source: str | Path,
    labels: Sequence[str] | None,
    dtype: torch.dtype | None = torch.float32,
) -> PreTrainedModel:
    """Load a fine-tuned classifier by a class of transformers and check it, as `load_model` does.

    Args:
        auto: Class that loads the model, such as AutoModelForImageClassification.
        source: Folder of a saved model, or its name on the hub.
        labels: Label names that the output units must have, in this order; unchecked if None.
        dtype: Type of the weights in memory; None keeps the type in which they were saved.

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
        check_head(model, labels, source)
    return model.eval()


def _load_with_adapter(source: AdapterFolder, dtype: torch.dtype | None) -> PreTrainedModel:
    base, report = from_pretrained(
        AutoModelForSequenceClassification,
        source.base_folder,
        "model",
        dtype,
        ignore_mismatched_sizes=True,  # the adapter has the head of its labels
        **source.read_labels(),
    )
    check_layers(base, report, source.base_folder)
    return attach_adapter(base, source, _list_random(report))


def _list_random(report: Mapping[str, Collection[Any]]) -> frozenset[str]:
    """Return the names of weights that were not loaded, since they are missing or do not fit."""
    mismatched = (key if isinstance(key, str) else key[0] for key in report["mismatched_keys"])
    return frozenset({*report["missing_keys"], *mismatched})


def load_base(source: str | Path, labels: Sequence[str]) -> PreTrainedModel:
    """Load a model to fine-tune, in single precision, with a head of one unit for each label.

    The head is randomly initialised, even if the source has one for other labels. So is a pooler
    that the source lacks.

    Args:
        source: Folder of a saved model, or its name on the hub.
        labels: Label names of the output units.

    Returns:
        The model, with the names of its random weights as `random_names`.

    Raises:
        InputError: If the model cannot be found, has no classification head, or lacks other
            weights.
    """
    if is_adapter(source):
        raise InputError(f"model {source}", "a base to train", "an adapter", MERGE)
    model, report = from_pretrained(
        AutoModelForSequenceClassification,
        source,
        "model",
        torch.float32,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: unit for unit, label in enumerate(labels)},
        problem_type=None,  # the base was trained on another task
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
    folder = AdapterFolder(source).tokenizer_folder if is_adapter(source) else source
    tokenizer = from_pretrained(AutoTokenizer, folder, "tokenizer")
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


def _find_base(source: str | Path) -> str | Path:
    """Return the folder of an adapter's base, or the source itself if it is no adapter."""
    return AdapterFolder(source).base_folder if is_adapter(source) else source


def from_pretrained(
    auto: type,
    source: str | Path,
    kind: str,
    dtype: torch.dtype | None = None,
    **config: object,
):
    """Load a part of a saved model by a class of transformers; remote code is never run.

    Args:
        auto: Class that loads it.
        source: Folder of a saved model, or its name on the hub.
        kind: Part for messages: model, config, tokenizer, image processor.
        dtype: Type of the weights in memory; None keeps the type in which they were saved.
        config: Further options of the configuration; of a processor, its own.

    Returns:
        The part; of a model, also the report of its loading.

    Raises:
        InputError: It cannot be found or read.
    """
    folder = Path(source)
    _check_folder(source, kind)
    options = {
        "attn_implementation": "eager",
        "output_loading_info": True,
        "use_safetensors": True,  # never unpickle
        "dtype": dtype or "auto",
        **config,
    }
    options = options if kind == "model" else config
    try:
        with quiet_loading():
            loaded = auto.from_pretrained(str(source), trust_remote_code=False, **options)
    except Exception as error:  # reading unknown files may raise anything
        if isinstance(error, PermissionError):
            raise
        damaged = find_damaged_file(folder)
        raise InputError(
            f"{kind} {source}",
            "a folder as save_pretrained writes it" + ("" if folder.is_dir() else _OR_HUB),
            str(damaged or _summarize_error(error)),
            damaged.remedy if damaged else suggest_remedy(folder),
        ) from error
    if kind == "model":
        _check_loaded(loaded[0], source)
    return loaded


def _check_loaded(model: PreTrainedModel, source: str | Path) -> None:
    """Refuse adapters that transformers attached itself, and quantised weights; keep the types."""
    if getattr(model, "_hf_peft_config_loaded", False):
        change = "Name the folder of the adapter, downloaded, or hub:owner/name in a study."
        raise InputError(f"model {source}", "a whole model", "an adapter", change)
    if Path(source).is_dir():
        check_weight_types(Path(source), [name for name, _ in model.named_parameters()])
        model.saved_dtypes = saved_dtypes(Path(source))  # type: ignore[assignment]


def _check_folder(source: str | Path, kind: str) -> None:
    """Refuse a path without a folder; other names may be those of the hub."""
    folder = Path(source)
    if (str(source).startswith((".", "/", "~")) or len(folder.parts) > 2) and not folder.is_dir():
        raise InputError(
            f"{kind} {source}",
            "a folder with a saved model",
            "no such folder",
            "Correct [model] path, or run `fastif train` first.",
        )


_OR_HUB = ", or the name of a hub model that can be reached"


def _summarize_error(error: Exception) -> str:
    """Return the first line of an error, without advice on options that are not available."""
    if "ignore_mismatched_sizes" in str(error):
        return "weights of other shapes than in its config.json"
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Context manager that loads a model without reports and progress bars of transformers."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
