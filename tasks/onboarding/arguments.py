"""Arguments of `fastif init`, recognised by what they are: model, training table, queries."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastif import InputError
from fastif.models.foreign_folder import find_foreign_model
from tasks.data.image_files import is_image_folder
from tasks.onboarding.data_folders import (
    describe_data_folder,
    find_shards,
    make_hub_remedy,
    make_remedy,
)
from tasks.onboarding.model_folder import is_model_folder
from tasks.onboarding.name_words import split_name
from tasks.study.errors import format_value, join_some, suggest
from tasks.study.fields import HUB
from tasks.study.path_kinds import describe_path

QUERY_WORDS = {"query", "queries", "test", "dev", "eval", "valid", "validation", "holdout"}
TRAIN_WORDS = {"train", "training"}


@dataclass(frozen=True)
class InitArguments:
    """Model and tables of a study that is to be written.

    Attributes:
        train: File of the training table.
        model: Folder of the model, or hub:owner/name; None without a model.
        queries: File of the queries; None without queries.
        note: Explanation of an exchanged order; empty if it is the usual one.
    """

    train: Path
    model: str | None = None
    queries: Path | None = None
    note: str = ""


def read_arguments(words: Sequence[str]) -> InitArguments:
    """Recognise model and tables by what is at their paths.

    Raises:
        InputError: A path without a model or a table, or too many of them.
    """
    if not words:
        raise InputError(
            "arguments",
            "a model's folder, its training table and a table of queries",
            "nothing",
            "Give them: fastif init MODEL TRAIN QUERIES; without MODEL for a search for wrong "
            "labels; or --template for a file with every key.",
        )
    models, tables = [], []
    for word in words:
        if word.startswith(HUB) or is_model_folder(Path(word)):
            models.append(word)
        else:
            _check_table(word, bool(models))
            tables.append(Path(word))
    for kind, items, most in (("model", models, 1), ("table", tables, 2)):
        if len(items) > most:
            raise InputError(
                "arguments",
                "one model, a training table and a table of queries",
                f"{len(items)} {kind}s: {join_some(map(str, items))}",
                _explain_surplus(items),
            )
    if not tables:
        raise InputError(
            "arguments",
            "the table that the model was trained on, and a table of queries",
            f"a model alone, {models[0]}",
            f"Name them too: fastif init {models[0]} TRAIN QUERIES",
        )
    note = ""
    if len(tables) == 2 and _are_exchanged(*tables):
        tables.reverse()
        note = f"{tables[0].name} is taken as the training table, {tables[1].name} as the queries"
    model = models[0] if models else None
    return InitArguments(tables[0], model, *tables[1:], note=note)


def _explain_surplus(items: Sequence[str | Path]) -> str:
    """Return the remedy of too many models or tables."""
    if isinstance(items[0], Path):
        pattern = find_shards(items[0].parent)
        return make_remedy(items[0].parent) if pattern else "Name each once."
    hub = [item for item in items if str(item).startswith(HUB)]
    hints = [make_hub_remedy(str(item).removeprefix(HUB)) for item in hub[-1:]]
    remedy = "Name each once; further models of the same training go under `models` in the study"
    return " ".join([f"{remedy} file.", *hints])


def _check_table(word: str, has_model: bool) -> None:
    """Refuse a path without a table.

    Args:
        word: Path.
        has_model: Whether the model is named before it.

    Raises:
        InputError: There is nothing, or a folder without a model.
    """
    path = Path(word)
    where, expected = format_value(word), "a model's folder, or the file of a table"
    if not is_image_folder(path) and (foreign := find_foreign_model(path)) is not None:
        raise InputError(where, expected, foreign.kind, foreign.remedy)
    if path.is_file() or is_image_folder(path):
        return
    if folder := describe_data_folder(path):
        raise InputError(where, expected, folder, make_remedy(path))
    if path.is_dir():
        raise InputError(
            where,
            f"{expected}",
            "a folder without config.json, checkpoints and images",
            "Name the folder written by save_pretrained, or the file of a table.",
        )
    near = path.parent if path.parent.is_dir() else Path()
    remedy = suggest(path.name, os.listdir(near)) or "Correct the path."
    is_hub = word.count("/") == 1 and not path.suffix and not path.parent.exists()
    hint = f" For a model of the Hugging Face hub write {HUB}{word}." if is_hub else ""
    hint = f" {make_hub_remedy(word)}" if is_hub and has_model else hint
    raise InputError(
        where, expected, describe_path(path), f"{remedy[:1].upper()}{remedy[1:]}{hint}"
    )


def _are_exchanged(first: Path, second: Path) -> bool:
    """Whether the file names say that the queries come first."""
    words, others = {*split_name(first.stem)}, {*split_name(second.stem)}
    is_query = bool(QUERY_WORDS & words) and not TRAIN_WORDS & words
    return is_query and bool(TRAIN_WORDS & others) and not QUERY_WORDS & others
