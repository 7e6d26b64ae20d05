"""Studies of boosted trees: the section `[trees]`, and sections that have no meaning for trees."""

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from tasks.study.errors import Problem, StudyError, format_value, join_some
from tasks.study.fields import Section
from tasks.study.target_kind import CLASS, NUMBER

SUFFIXES = (".txt", ".json", ".ubj")
"""Suffixes of the files of boosted trees that are read."""
OTHER_SUFFIXES = (".bin", ".cbm", ".pkl", ".pickle", ".joblib", ".dill", ".model", ".onnx", ".pmml")
"""Suffixes of files of trees in formats that are not read, pickles among them."""
SAVING = (
    'save the model with its library: LightGBM save_model("model.txt"), XGBoost '
    'save_model("model.json") or .ubj, CatBoost save_model("model.json", format="json", pool=pool)'
)

_WITHOUT_MEANING: Final = MappingProxyType(
    {
        "models": "the trees of one file are audited",
        "parameters": "all leaf values are fitted again",
        "loss": "the file states the loss of training",
        "curvature": "trees have no damping; [trees] method says how effects are computed",
        "estimator": "[trees] method says how effects are computed",
        "solver": "no linear system is solved; [trees] method says how effects are computed",
        "certificate": "no linear system is solved",
        "carry": "each run scores all rows for all queries",
        "training": "fastif trains no trees; train them with their library",
    }
)
"""Sections that a study of trees must not have, with the reason."""
_ALLOWED: Final = MappingProxyType(
    {
        "model": (("path",), "the file says how the model reads a row"),
        "candidates": (("kind", "keep", "totals"), "every training row is scored"),
        "run": (("shard_size", "devices"), "a tile of queries takes 1 GB at most, on the CPU"),
    }
)
"""Keys of sections of which a study of trees has only some, with the reason."""
_NO_RESIDUAL = "no linear system is solved"
PLACEHOLDERS: Final = MappingProxyType(
    {
        "parameters": {"attributed": "all"},
        "curvature": {"damping": 0.0, "rows": "all"},
        "solver": {"kind": "direct"},
        "certificate": {"rows": 0},
    }
)
"""Sections of other models, which an audit of trees does not read."""


class TreeSettings(Section):
    """`[trees]`: method of the effects on boosted trees, and settings that their file may lack."""

    method: Literal["leaf-influence", "leaf-refit", "boostin", "kernel"] = "leaf-influence"
    """leaf-influence (derivative with all leaf values refitted; recommended), leaf-refit (the
    change itself; a fit for each training row and shard), boostin or kernel"""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """learning rate, if the file lacks it; that of XGBoost is found from the leaf values"""
    l2: Annotated[float, Field(ge=0)] | None = None
    """L2 penalty of leaf values, if the file lacks it; that of XGBoost is found as well"""
    l1: Annotated[float, Field(ge=0)] | None = None
    """L1 penalty of leaf values, if the file lacks it (XGBoost)"""
    subsample: Annotated[float, Field(gt=0, le=1)] | None = None
    """share of the rows that each tree was fitted to, if the file lacks it (XGBoost)"""


def is_tree_file(path: str) -> bool:
    """Whether `[model] path` names a file of boosted trees, by its suffix.

    Examples:
        >>> is_tree_file("out/model.json"), is_tree_file("out/model"), is_tree_file("hub:a/b.json")
        (True, False, False)
    """
    return PurePath(path).suffix.lower() in SUFFIXES and not path.startswith(("hub:", "package:"))


def fill_tree_sections(values: dict[str, Any]) -> list[Problem]:
    """Add placeholders of the sections that a study of trees lacks, in place.

    Returns:
        Problems of sections and keys that have no meaning for trees.
    """
    path = _find_path(values)
    if path is None or not is_tree_file(path):
        return [*_refuse_other_files(path), *_refuse_settings(values)]
    problems = list(_find_stated(values))
    values |= {name: dict(section) for name, section in PLACEHOLDERS.items()}
    for name in ("models", "estimator", "loss", "carry", "training"):
        values.pop(name, None)
    values.setdefault("candidates", {"kind": "full"})
    run = values.setdefault("run", {})
    if isinstance(run, dict):
        run |= {"devices": "cpu", "precision": "single"} | run
    return problems


def _refuse_settings(values: Mapping[str, Any]) -> Iterator[Problem]:
    if "trees" in values:
        expected = "a file of boosted trees as [model] path, for rows with features"
        yield Problem("[trees]", expected, "none", f"remove it; or {SAVING}")


def _find_path(values: Mapping[str, Any]) -> str | None:
    """Return `[model] path` of a study with features and without a factory; None for others."""
    train, model = values.get("train"), values.get("model")
    if not isinstance(train, dict) or "features" not in train or not isinstance(model, dict):
        return None
    path = model.get("path")
    return path if isinstance(path, str) and "factory" not in model else None


def _refuse_other_files(path: str | None) -> Iterator[Problem]:
    """Refuse a file of trees in another format, a pickle among them."""
    if path is not None and PurePath(path).suffix.lower() in OTHER_SUFFIXES:
        expected = f"a file of boosted trees ({', '.join(SUFFIXES)})"
        change = f"no pickle and no binary file is read; {SAVING}"
        yield Problem("[model] path", expected, format_value(path), change)


def _find_stated(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem for each stated section or key without a meaning for trees."""
    for name, reason in _WITHOUT_MEANING.items():
        if name in values:
            where = name if name == "models" else f"[{name}]"
            what = "key" if name == "models" else "section"
            change = f"remove it: {reason}"
            yield Problem(where, f"no such {what} for boosted trees", "it is there", change)
    for name, (allowed, reason) in _ALLOWED.items():
        section = values.get(name, {})
        for key in section if isinstance(section, dict) else ():
            if key not in allowed:
                expected = f"only {join_some(list(allowed))} for boosted trees"
                yield Problem(f"[{name}] {key}", expected, "it is there", f"remove it: {reason}")
    for name in ("notify", "report"):
        section = values.get(name, {})
        if isinstance(section, dict) and "residual_above" in section:
            where, expected = f"[{name}] residual_above", "no such key for boosted trees"
            yield Problem(where, expected, "it is there", f"remove it: {_NO_RESIDUAL}")


def check_tree_study(target: str, labels: int, kind: str, devices: object) -> Iterator[Problem]:
    """Yield the problems of a study of trees that need its parsed sections.

    Args:
        target: Kind of the target.
        labels: Number of labels, or of numbers a row.
        kind: Kind of `[candidates]`.
        devices: Devices of `[run]`.
    """
    if target not in (CLASS, NUMBER) or (target == NUMBER and labels > 1):
        expected = '"class" or "number", one a row, for boosted trees'
        got = "several numbers a row" if target == NUMBER else format_value(target)
        yield Problem("target", expected, got, "audit the model of each target on its own")
    if kind != "full":
        change = 'remove it, or set kind = "full": [trees] method says how effects are computed'
        yield Problem("[candidates] kind", '"full" for boosted trees', format_value(kind), change)
    if devices != ("cpu",):
        change = "remove it: effects on trees are computed on the CPU"
        yield Problem("[run] devices", '"cpu" for boosted trees', format_value(devices), change)


def refuse_trees(path: Any, is_trees: bool, what: str, change: str) -> None:
    """Refuse a study of boosted trees where a command has no meaning for them.

    Args:
        path: Study file.
        is_trees: Whether its model are boosted trees.
        what: Name of the command, for the message.
        change: Remedy of the message.

    Raises:
        StudyError: The model are boosted trees.
    """
    if is_trees:
        expected, got = f"a model with gradients for {what}", "a file of boosted trees"
        raise StudyError(path, [Problem("[model] path", expected, got, change)])
