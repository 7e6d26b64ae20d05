"""Parts of a saved model, loaded by a class of transformers: safetensors alone, no remote code."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from fastif.errors import InputError
from fastif.models.weight_files import (
    check_weight_types,
    find_damaged_file,
    saved_dtypes,
    suggest_remedy,
)


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
        _check_loaded(loaded[0], source, "device_map" in config)
    return loaded


def _check_loaded(model: PreTrainedModel, source: str | Path, is_quantised: bool) -> None:
    """Refuse adapters that transformers attached itself, and quantised weights; keep the types."""
    if getattr(model, "_hf_peft_config_loaded", False):
        change = "Name the folder of the adapter, downloaded, or hub:owner/name in a study."
        raise InputError(f"model {source}", "a whole model", "an adapter", change)
    if Path(source).is_dir() and not is_quantised:
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
