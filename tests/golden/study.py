"""The studies: their tables, their files, and the commands that are run on each, in order."""

import csv
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.golden.model import BAD, GOOD, LABELS, WORDS, write_base, write_classifier

Sections = Mapping[str, Mapping[str, Any] | None]
Rows = list[dict[str, Any]]
ROWS, QUERIES = 20, 5


@dataclass(frozen=True)
class Step:
    """A command on a study file, with the tables of one of two runs.

    Attributes:
        command: STUDY stands for the file.
        sections: in place of the common ones; None leaves a section out.
        night: number of the tables.
    """

    command: tuple[str, ...]
    sections: Sections
    night: int = 0


AUDIT, MISLABELS = ("audit", "STUDY"), ("mislabels", "STUDY")
COLUMNS = {"text": "text", "label": "label", "id": "id"}
AUDITED: Sections = {
    "": {"name": "golden", "labels": LABELS},
    "model": {"path": "model", "max_length": 12},
    "train": {"table": "train.csv", **COLUMNS, "groups": ["source"]},
    "queries": {"table": "queries.csv", **COLUMNS, "groups": ["source", "kind"]},
    "curvature": {"damping": 0.1},
    "solver": {"kind": "dual"},
    "candidates": {"kind": "full", "keep": 4},
    "run": {"shard_size": 3, "batch_size": 8, "devices": ["cpu"]},
    "store": {"path": "store"},
}
TRAINING = {"base": "base", "epochs": 1, "learning_rate": 0.01, "batch_size": 8}
AUTO = {"curvature": {"damping": "auto"}, "training": TRAINING}
FULL = {"kind": "full", "keep": 4, "totals": False}
SKETCH = {"kind": "sketch", "k": 8, "dimensions": 40, "width": 512, "check": 0}
FEWEST = {key: value for key, value in SKETCH.items() if key != "k"}
NIGHTLY = {"candidates": {**SKETCH, "rescore": False, "check": 1}, "carry": {"least": 0.5}}
SHAPED = {
    "label_smoothing": 0.1,
    "class_weights": [1.0, 2.0],
    "weight_decay": 0.02,
    "weight_decay_kind": "coupled",
}
UNITED = {
    "kind": "union",
    "of": [{k: v for k, v in SKETCH.items() if k != "check"}, {"kind": "knn", "k": 5}],
    "check": 1,
}
CG = {"kind": "cg", "tolerance": 1e-5, "preconditioner": "drawn", "rank": 12}
LISSA = {"kind": "lissa", "batch": 8, "repeats": 2, "depth": 30}
HEAD = {"attributed": ["pooler", "^classifier"]}
DISK = {"prefix_cache_mb": 0, "prefix_disk_mb": 4}

ALONE: Sections = {
    "": {"name": "golden", "labels": LABELS},
    "train": {"table": "train.csv", **COLUMNS, "groups": ["source"]},
    "mislabels": {"encoder": "base", "budget": 6},
    "run": {"devices": ["cpu"]},
    "store": {"path": "store"},
}
TRUSTED = {"queries": {"table": "sure.csv", **COLUMNS, "trusted": True}}
MEASURED = {"features": ["height", "job", "place"], "label": "label", "id": "id"}
COLUMNED: Sections = {
    **ALONE,
    "train": {"table": "measured.jsonl", **MEASURED},
    "mislabels": {"budget": 6},
}


@dataclass(frozen=True)
class Study:
    """A study with what is done to it.

    Attributes:
        common: sections of every step's file.
        fixed, auto: steps of each variant; the variants have a store each.
    """

    common: Sections
    fixed: tuple[Step, ...]
    auto: tuple[Step, ...]


STUDIES: dict[str, Study] = {
    "classifier": Study(
        AUDITED,
        (
            Step(AUDIT, {}),
            Step(
                AUDIT,
                {
                    "candidates": FULL,
                    "loss": SHAPED,
                    "curvature": {"damping": 0.1, "leverage": "auto"},
                },
            ),
            Step(AUDIT, NIGHTLY),
            Step(AUDIT, NIGHTLY, night=1),
            Step(
                AUDIT,
                {"candidates": UNITED, "solver": {"kind": "spectral"}, "run": DISK},
            ),
            Step(
                AUDIT, {"solver": CG, "candidates": FULL, "curvature": {"damping": 0.3, "rows": 16}}
            ),
            Step(
                AUDIT,
                {
                    "solver": {"kind": "direct"},
                    "candidates": {**FULL, "rank": 2},
                    "curvature": {"damping": 9.0, "kind": "hessian"},
                    "parameters": HEAD,
                },
            ),
            Step(
                AUDIT,
                {
                    "solver": LISSA,
                    "candidates": {"kind": "knn", "k": 6, "check": 0},
                    "curvature": {"damping": 1.0},
                },
            ),
            Step(
                ("urgent", "q2", "--study", "STUDY"),
                {"solver": LISSA, "curvature": {"damping": 1.0}, "candidates": FULL},
            ),
            Step(MISLABELS, {"training": TRAINING, "mislabels": {"folds": 2, "budget": 6}}),
        ),
        (
            Step(AUDIT, {**AUTO, "candidates": {"kind": "auto", "check": 1}}),
            Step(AUDIT, {"candidates": {**FEWEST, "check": 1, "target_recall": 0.9}}),
            Step(AUDIT, {"candidates": {**FEWEST, "target_recall": 0.2}}),
            Step(AUDIT, {**AUTO, "candidates": SKETCH, "solver": {"kind": "spectral"}}),
        ),
    ),
    "labels": Study(
        ALONE,
        (
            Step(MISLABELS, {}),
            Step(("review", "import", "verdicts.csv", "--study", "STUDY"), {}),
            Step(MISLABELS, {}),
        ),
        (Step(MISLABELS, TRUSTED), Step(MISLABELS, TRUSTED, night=1)),
    ),
    "columns": Study(
        COLUMNED,
        (Step(MISLABELS, {}),),
        (Step(MISLABELS, {"queries": {"table": "sure.jsonl", **MEASURED, "trusted": True}}),),
    ),
    "models": Study(
        {**AUDITED, "": {"name": "golden", "labels": LABELS, "models": ["model1", "model2"]}},
        (
            Step(AUDIT, {"candidates": FULL}),
            Step(AUDIT, {"candidates": SKETCH, "solver": {"kind": "spectral"}, "run": DISK}),
        ),
        (Step(AUDIT, {**AUTO, "candidates": {"kind": "auto", "check": 1}}),),
    ),
}


def write_models(folder: Path) -> None:
    """Three classifiers and a base model."""
    for place, name in enumerate(("model", "model1", "model2")):
        write_classifier(folder / name, place)
    write_base(folder / "base", 0)


def write_tables(folder: Path, night: int) -> None:
    """All tables of one of the two runs."""
    train, queries = _texts("t", ROWS), _texts("q", QUERIES)
    if night:  # two rows gone, one relabelled, two new ones at the front; one new query
        train = [*_texts("n", 2), *train[2:]]
        train[5] = {**train[5], "label": LABELS[train[5]["label"] == LABELS[0]]}
        queries = [*queries[1:], *_texts("m", 1)]
    _write_csv(folder / "train.csv", train)
    _write_csv(folder / "queries.csv", queries)
    _write_csv(folder / "sure.csv", _texts("s", 12))
    wrong = [{**row, "right_label": row["label"], "reviewer": "ann"} for row in train[:4]]
    _write_csv(folder / "verdicts.csv", [*wrong[:3], {**wrong[3], "right_label": "none"}])
    for name, count in (("measured", 20), ("sure", 8)):
        lines = [json.dumps(row) for row in _measured(name, count)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def write_study(folder: Path, common: Sections, changes: Sections) -> Path:
    """The study file of a step."""
    sections = {**common, **changes}
    if "run" in changes:
        sections["run"] = {**(common["run"] or {}), **(changes["run"] or {})}
    lines: list[str] = []
    for section, keys in sections.items():
        if keys is not None:
            lines += [f"[{section}]"] if section else []
            lines += [f"{key} = {_toml(value)}" for key, value in keys.items()]
    path = folder / "study.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def _texts(prefix: str, count: int) -> Rows:
    """Texts whose label follows from their words, a fifth of the labels flipped."""
    draw = random.Random(f"{prefix} texts")
    rows: Rows = []
    for place in range(count):
        words = [draw.choice(WORDS) for _ in range(draw.choice((2, 3, 4, 5, 13)))]
        good = sum(word in GOOD for word in words) > sum(word in BAD for word in words)
        label = LABELS[good ^ (draw.random() < 0.2)]
        row = {"id": f"{prefix}{place}", "text": " ".join(words), "label": label}
        rows.append({**row, "source": draw.choice("xy"), "kind": draw.choice("abc")})
    return rows


def _measured(prefix: str, count: int) -> Rows:
    """Rows of a number, a kind and a list of numbers, all exact."""
    draw = random.Random(f"{prefix} measured")
    rows: Rows = []
    for place in range(count):
        good = draw.random() < 0.5
        row: dict[str, Any] = {"id": f"{prefix}{place}"}
        row["label"] = LABELS[good ^ (draw.random() < 0.15)]
        row["height"] = draw.randint(-64, 64) / 32 + 2 * good
        row["job"] = draw.choice("abb" if good else "acc")
        rows.append({**row, "place": [draw.randint(0, 64) / 32 for _ in range(2)]})
    return rows


def _write_csv(path: Path, rows: Rows) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _toml(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(v)}" for key, v in value.items()) + "}"
    return json.dumps(value)
