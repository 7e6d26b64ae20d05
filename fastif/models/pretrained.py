"""Models and tokenizers from disk or from the hub, refused unless they fit."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
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
from fastif.models.complete_weights import check_base, check_layers
from fastif.models.label_names import GENERIC_NAME, find_misplaced_labels
from fastif.models.max_positions import find_max_length
from fastif.models.parameters import check_finite
from fastif.models.problem_type import SINGLE_LABEL, read_problem_type

FLOATS = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
"""Types of floating point by their names in safetensors."""


def load_model(
    source: str | Path,
    labels: Sequence[str] | None = None,
    dtype: torch.dtype | None = torch.float32,
) -> PreTrainedModel:
    """A classifier from a local folder or, by name, from the hub; never with remote code.

    Args:
        source: folder or name.
        labels: those that its output units must have, one of them a row.
        dtype: of the weights, whatever they were saved in; as they were saved if None.

    Raises:
        InputError: it cannot be found, weights are missing, its head does not have these labels in
            this order, or it was trained to give several of them or a number.
    """
    model, report = _from_pretrained(AutoModelForSequenceClassification, source, "model", dtype)
    if report["missing_keys"]:
        raise InputError(
            f"model {source}",
            "a trained classifier with all its weights",
            f"no weights for {', '.join(sorted(report['missing_keys']))}",
            "Name a fine-tuned classifier, or train one with `fastif train`.",
        )
    check_layers(model, report, source)
    if labels is not None:
        _check_head(model, labels, source)
    return model.eval()


def load_base(source: str | Path, labels: Sequence[str]) -> PreTrainedModel:
    """A model to start training from, in single precision, with a head of one unit a label.

    The head is drawn at random, also in place of one of other labels, and so is a pooler that the
    source does not have.

    Raises:
        InputError: it cannot be found, has no head for classification, or lacks other weights.
    """
    model, report = _from_pretrained(
        AutoModelForSequenceClassification,
        source,
        "model",
        torch.float32,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: unit for unit, label in enumerate(labels)},
        problem_type=None,  # that of the base was another task
        ignore_mismatched_sizes=True,  # a head of other labels is drawn anew
    )
    check_base(model, report, source)
    return model.eval()


def load_encoder(source: str | Path) -> PreTrainedModel:
    """The layers below a model's head, from a local folder or the hub; never with remote code.

    Raises:
        InputError: it cannot be found, lacks weights, or some are not finite.
    """
    model, report = _from_pretrained(AutoModel, source, "model", torch.float32)
    check_base(model, report, source)
    check_finite(model, f"model {source}")
    return model.eval()


def read_encoder_width(source: str | Path) -> int:
    """Numbers in which a model says what it reads; its weights are not loaded.

    Raises:
        InputError: it cannot be found.
    """
    return _from_pretrained(AutoConfig, source, "config").get_text_config().hidden_size


def read_encoder_max_length(source: str | Path) -> int | None:
    """Tokens that a model has positions for, None for any number; its weights are not loaded.

    Raises:
        InputError: it cannot be found.
    """
    config = _from_pretrained(AutoConfig, source, "config")
    with quiet_loading(), torch.device("meta"):
        return find_max_length(AutoModel.from_config(config))


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
    num_embeddings = getattr(model.config.get_text_config(), "vocab_size", None)
    num_tokens = len(tokenizer)
    if num_embeddings is not None and (
        num_tokens > num_embeddings or num_tokens < 0.9 * num_embeddings
    ):
        raise InputError(
            f"tokenizer {source}",
            f"the vocabulary of the model, {num_embeddings} entries",
            f"{num_tokens}",
            "Put the files of the tokenizer it was trained with into the model's folder.",
        )
    return tokenizer


def _from_pretrained(
    auto: type,
    source: str | Path,
    kind: str,
    dtype: torch.dtype | None = None,
    **config: object,
):
    folder = Path(source)
    if (str(source).startswith((".", "/", "~")) or len(folder.parts) > 2) and not folder.is_dir():
        raise InputError(
            f"{kind} {source}",
            "a folder with a saved model",
            "no such folder",
            "Correct [model] path, or run `fastif train` first.",
        )
    options = {
        "attn_implementation": "eager",
        "output_loading_info": True,
        "use_safetensors": True,  # never unpickle
        "dtype": dtype or "auto",
        **config,
    }
    options = options if kind == "model" else {}
    try:
        with quiet_loading():
            loaded = auto.from_pretrained(str(source), trust_remote_code=False, **options)
    except Exception as error:  # whatever reading a stranger's files raises
        raise InputError(
            f"{kind} {source}",
            "a folder as save_pretrained writes it" + ("" if folder.is_dir() else _OR_HUB),
            _summarize_error(error),
            _suggest_remedy(folder),
        ) from error
    if kind == "model" and folder.is_dir():
        loaded[0].saved_dtypes = saved_dtypes(folder)
    return loaded


def saved_dtypes(folder: Path) -> tuple[torch.dtype, ...]:
    """The types of floating point that the weights in a folder were saved in."""
    dtype_names: set[str] = set()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            dtype_names |= {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    return tuple(dtype for name, dtype in FLOATS.items() if name in dtype_names)


def _suggest_remedy(folder: Path) -> str:
    """What to do about a folder that cannot be loaded."""
    if (folder / "adapter_config.json").is_file():
        return "It is an adapter: save the whole model, `merge_and_unload().save_pretrained(...)`."
    if any(folder.glob("*.bin")) and not any(folder.glob("*.safetensors")):
        return "Save its weights as safetensors: pickled ones (.bin) are never read."
    if folder.is_dir():
        return "Save model and tokenizer there again with save_pretrained, or correct the path."
    return "Check the path; without a network, download the model to a folder and name that."


_OR_HUB = ", or the name of a hub model that can be reached"


def _summarize_error(error: Exception) -> str:
    """The first line of what was raised, in place of what it says of options that are not there."""
    if "ignore_mismatched_sizes" in str(error):
        return "weights of other shapes than its config.json says"
    return (str(error).strip() or type(error).__name__).splitlines()[0]


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
    problem = read_problem_type(model)
    if problem not in (None, SINGLE_LABEL):
        raise InputError(
            f"model {source}",
            f"a classifier of one label a row, problem_type {SINGLE_LABEL!r}",
            f"{problem!r}",
            "Audit it from Python with its own loss, see docs/guides/library.md; or correct "
            "problem_type in its config.json.",
        )
    label_names = [str(name) for _, name in sorted((config.id2label or {}).items())]
    units = {name: int(unit) for name, unit in (config.label2id or {}).items()}
    _check_label_names(label_names, units, labels, source)


def _check_label_names(
    label_names: Sequence[str], units: Mapping[str, int], labels: Sequence[str], source: str | Path
) -> None:
    inconsistent = [n for unit, n in enumerate(label_names) if n in units and units[n] != unit]
    if inconsistent and not all(GENERIC_NAME.fullmatch(name) for name in units):
        raise InputError(
            f"model {source}",
            "id2label and label2id that say the same",
            f"id2label {label_names}, label2id {dict(units)}",
            "Correct its config.json: which output unit is which label?",
        )
    if all(map(GENERIC_NAME.fullmatch, label_names)) and sorted(units.values()) == list(
        range(len(label_names))
    ):
        label_names = sorted(
            units, key=lambda name: units[name]
        )  # a configuration with label2id alone
    if find_misplaced_labels(labels, label_names):
        raise InputError(
            f"model {source}",
            f"labels in the order of the model's output units, {label_names}",
            f"{list(labels)}",
            "Put `labels` of the study into the model's order.",
        )
