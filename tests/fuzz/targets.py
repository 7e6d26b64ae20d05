"""Kinds of targets of a study: their random choice, their columns, and their text in a store."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["class", "soft-label", "multi-label", "ordinal", "number"]
Value = str | tuple[float, ...] | None
"""A class by its name, or a number for each label; None where a query has none."""

LOSSES = {
    "class": ("cross-entropy", "focal"),
    "soft-label": ("cross-entropy",),
    "multi-label": ("binary", "focal"),
    "ordinal": ("cross-entropy", "focal", "ordinal", "squared", "huber"),
    "number": ("squared", "huber"),
}
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 1.0, 1.75, 3.0)
WORDS = ((0, 1), ("no", "yes"), ("False", "TRUE"), (False, True))
"""Cells of a label that a row lacks, and of one that it has."""


@dataclass(frozen=True)
class Target:
    """What rows are labelled with, and how the tables have it.

    Attributes:
        kind: of the study's `target`.
        loss: of `[loss] kind`; None leaves it out.
        ordinal, delta, gamma, positive, reduction: further settings of `[loss]`.
        weighted: whether the training rows have weights.
        by_label: of `[queries]`.
        layout: "label": one column; "columns": one each; "list"; or the separator of names.
        words: place in `WORDS`.
        comma: whether text tables have a decimal comma.
    """

    kind: Kind = "class"
    loss: str | None = None
    ordinal: str | None = None
    delta: float | None = None
    gamma: float | None = None
    positive: tuple[float, ...] | None = None
    reduction: str | None = None
    weighted: bool = False
    by_label: bool = False
    layout: str = "label"
    words: int = 0
    comma: bool = False

    @property
    def loss_name(self) -> str:
        """That of training."""
        return self.loss or LOSSES[self.kind][0]

    @property
    def has_ranks(self) -> bool:
        """Whether the single output of ordered classes is their rank."""
        return self.kind == "ordinal" and self.loss_name in ("squared", "huber")

    @property
    def has_thresholds(self) -> bool:
        """Whether outputs are thresholds between ordered classes."""
        return self.loss_name == "ordinal"

    @property
    def is_named(self) -> bool:
        """Whether a row has one class."""
        return self.kind in ("class", "ordinal")

    def count_outputs(self, labels: int) -> int:
        """Outputs of the model."""
        return 1 if self.has_ranks else labels - self.has_thresholds


def draw_target(chance: random.Random, keys: dict[str, Any]) -> dict[str, Any]:
    """Changes of a case that make its target another one, or its loss or weights."""
    kind = chance.choice(["soft-label", "multi-label", "multi-label", "ordinal", "ordinal"])
    kind = chance.choice([kind, kind, kind, "number", "class"])
    labels = keys["labels"]
    if kind == "number":
        labels = chance.choice([("price",), ("price",), ("price", "rent")])
    elif kind == "multi-label":
        labels = chance.choice([("odd",), ("warm", "cold"), ("warm", "very cold", "long")])
    loss = chance.choice(LOSSES[kind])
    is_usual = loss == LOSSES[kind][0] and chance.random() < 0.5
    settings = _draw_settings(chance, kind, loss, len(labels))
    target = Target(
        kind,
        None if is_usual else loss,
        weighted=chance.random() < 0.4 or (kind == "class" and loss == "cross-entropy"),
        by_label=kind == "multi-label" and chance.random() < 0.3,
        layout=_draw_layout(chance, kind, len(labels), keys["formats"]),
        words=chance.randrange(len(WORDS)),
        comma=chance.random() < 0.3,
        **settings,
    )
    changes: dict[str, Any] = {"labels": labels, "target": target}
    if loss != "cross-entropy":
        changes["smoothing"] = 0.0
    is_weighted = loss in ("cross-entropy", "focal") and kind != "multi-label"
    changes["weights"] = keys.get("weights") if is_weighted else None
    if kind not in ("class", "ordinal") or target.has_ranks or target.has_thresholds:
        changes["measure"] = chance.choice(["auto", "auto", "auto", "loss"])
        no_labels = kind == "number" or target.has_ranks or changes["measure"] == "loss"
        changes["unlabelled"] = 0.0 if no_labels else chance.choice([0.0, 0.0, 0.5, 1.0])
    return changes


def _draw_settings(chance: random.Random, kind: str, loss: str, labels: int) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if loss == "ordinal":
        settings["ordinal"] = chance.choice([None, "coral", "corn", "cumulative"])
    if loss == "huber":
        settings["delta"] = chance.choice([None, 0.3, 1.5])
    if loss == "focal":
        settings["gamma"] = chance.choice([None, 0.5, 2.0, 3.0])
    if loss == "binary" and chance.random() < 0.5:
        settings["positive"] = tuple(round(chance.uniform(0.4, 3), 2) for _ in range(labels))
    if loss in ("binary", "squared", "huber") or (loss == "focal" and kind == "multi-label"):
        settings["reduction"] = chance.choice([None, "mean", "sum"])
    return settings


def _draw_layout(chance: random.Random, kind: str, labels: int, formats: tuple[str, str]) -> str:
    lists = ["list"] if "csv" not in formats else []
    if kind in ("soft-label", "number") and labels > 1:
        return chance.choice(["columns", "columns", *lists, *lists])
    if kind == "multi-label":
        return chance.choice(["columns", "list", "|", ";", ","]) if labels > 1 else "columns"
    return "label"


def draw_value(chance: random.Random, target: Target, labels: Sequence[str]) -> Value:
    """The target of a row."""
    if target.is_named:
        return chance.choice(labels)
    if target.kind == "multi-label":
        return tuple(float(chance.random() < 0.45) for _ in labels)
    if target.kind == "number":
        return tuple(round(chance.gauss(0, 1.3), 3) for _ in labels)
    cuts = sorted(chance.choice([0, 1, 2, 3, 4]) for _ in labels[1:])
    return tuple((b - a) / 4 for a, b in zip([0, *cuts], [*cuts, 4], strict=True))


def to_numbers(target: Target, labels: Sequence[str], value: Value) -> list[float]:
    """The target as a loss has it: the number of a class, or a number for each label."""
    if value is None:
        return [0.0] * (1 if target.is_named else len(labels))
    return [float(labels.index(value))] if isinstance(value, str) else [*value]


def describe(
    target: Target, labels: Sequence[str], value: Value, focus: int | None = None
) -> str | None:
    """The target as a store has it."""
    if value is None or isinstance(value, str):
        return value
    if focus is not None:
        return labels[focus] if value[focus] else f"not {labels[focus]}"
    if target.kind == "multi-label":
        return " | ".join(labels[i] for i in range(len(labels)) if value[i] == 1) or "(none)"
    if target.kind == "soft-label":
        falling = sorted(range(len(labels)), key=lambda i: (-value[i], i))
        return ", ".join(f"{labels[i]} {value[i]}" for i in falling if value[i] > 0)
    return ", ".join(f"{number}" for number in value)


def target_keys(target: Target, labels: Sequence[str]) -> dict[str, Any]:
    """Keys of a table's section."""
    if target.layout == "columns":
        return {"labels": [f"is {name}" if target.kind != "number" else name for name in labels]}
    return {"label": labels[0] if target.kind == "number" and len(labels) == 1 else "label"}


def target_columns(
    target: Target, labels: Sequence[str], values: Sequence[Value], ending: str
) -> dict[str, list]:
    """Columns of a table."""
    keys = target_keys(target, labels)
    names = keys.get("labels") or [keys["label"]]
    if target.layout == "columns" or (target.kind == "number" and len(labels) == 1):
        rows = [[None] * len(names) if value is None else [*value] for value in values]
        columns = [
            [_cell(target, cell, ending) for cell in cells] for cells in zip(*rows, strict=True)
        ]
        return dict(zip(names, columns, strict=True))
    return {"label": [_one_cell(target, labels, value, ending) for value in values]}


def _one_cell(target: Target, labels: Sequence[str], value: Value, ending: str) -> object:
    if value is None or isinstance(value, str):
        return value
    if target.kind != "multi-label":
        return [*value]
    names = [name for name, has in zip(labels, value, strict=True) if has]
    if target.layout == "list":
        return json.dumps(names) if ending == "csv" else names
    return target.layout.join(names) or "[]"


def _cell(target: Target, cell: float | None, ending: str) -> object:
    if cell is None:
        return None
    if target.kind == "multi-label":
        return WORDS[target.words][int(cell)]
    return write_number(target, cell, ending)


def write_number(target: Target, number: float, ending: str) -> object:
    """A number as a text table of the case has it."""
    return f"{number}".replace(".", ",") if target.comma and ending == "csv" else number
