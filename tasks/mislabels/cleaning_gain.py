"""Whether cleaning pays: the study's own training, with and without the most suspicious rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text
from scipy import stats
from torch import Tensor

import fastif
from fastif.data.examples import Selected
from fastif.mislabels.linear_head import fit_head
from storage import Store
from tasks.data.dataset import Table
from tasks.mislabels.detect import (
    DETECTOR,
    Search,
    search_of,
    views_in,
)
from tasks.mislabels.results import Found
from tasks.models.finetune import new_objective, recipe_of
from tasks.models.locate import base_folder
from tasks.run.context import cached
from tasks.run.spec import Inputs, store_path
from tasks.runtime.devices import devices_of
from tasks.runtime.progress import bar
from tasks.study.errors import Problem, StudyError

AS_IT_IS, WITHOUT, CORRECTED, RANDOM = "as it is", "without", "suggested label", "random removed"
WAYS = (AS_IT_IS, WITHOUT, CORRECTED, RANDOM)
KEPT = 0.8
"""Share of the rows that a head is fitted to, others with each seed: nothing else differs."""

WHOLE, HEADS = "the study's classifier", "a linear head on frozen features"

Outputs = Callable[[int, Tensor, Tensor], Tensor]
"""Of the queries, by what was trained with a seed, on the rows of some positions, with labels."""


@dataclass(frozen=True)
class Validation:
    """Accuracy on the queries of models trained in several ways.

    Attributes:
        rows: how many training rows are removed or corrected.
        queries: how many rows accuracy is taken over.
        accuracy: by way, one number a seed; the seeds are the same for all ways.
        trained: what was trained.
        asked_before: whether the search was given the queries' labels.
    """

    rows: int
    queries: int
    accuracy: dict[str, list[float]]
    trained: str
    asked_before: bool

    def gain(self, way: str, over: str = AS_IT_IS) -> tuple[float, float, float]:
        """Mean difference over the seeds, and its 95 % interval by Student's t."""
        pairs = zip(self.accuracy[way], self.accuracy[over], strict=True)
        gains = torch.tensor([one - other for one, other in pairs], dtype=torch.float64)
        if len(gains) < 2:
            return float(gains.mean()), float("-inf"), float("inf")
        half = float(stats.t.ppf(0.975, len(gains) - 1) * gains.std() / len(gains) ** 0.5)
        return float(gains.mean()), float(gains.mean()) - half, float(gains.mean()) + half

    @property
    def verdict(self) -> str:
        """In one sentence."""
        best = max((WITHOUT, CORRECTED), key=lambda way: self.gain(way)[0])
        mean, low, high = self.gain(best)
        if low > 0:
            words = "removing them" if best == WITHOUT else "the suggested labels"
            return f"Cleaning pays: {words} gains {mean:+.1%} ({low:+.1%} to {high:+.1%})."
        return (
            f"Cleaning does not pay here, as far as {len(self.accuracy[best])} seeds can tell: "
            f"{mean:+.1%} at best ({low:+.1%} to {high:+.1%})."
        )


def validated(path: Path, found: Found, seeds: int) -> Validation:
    """Train a classifier again in each way, so many times.

    The study's own, with another seed each time; where it has none, a linear head on the features
    that rows were judged by, each time without another fifth of the rows.

    Raises:
        StudyError: there is no row to measure accuracy on.
    """
    search = search_of(path)
    inputs = search.inputs
    if not inputs.study.asks:
        expected = "a section with rows whose labels are right, in the columns of [train]"
        change = "add it: accuracy is measured on them"
        raise StudyError(path, [Problem("[queries]", expected, "none", change)])
    top = found.table.filter(pl.col("reviewed").is_null()).sort("rank")
    top = top.head(min(found.facts["budget"], len(inputs.train) // 2))
    is_whole = inputs.study.training is not None
    outputs = _classifiers(inputs) if is_whole else _heads(search, found.facts["mix"])
    labels, asked = torch.tensor(inputs.train.labels), torch.tensor(inputs.queries.labels)
    right, everything = labels.clone(), torch.arange(len(labels))
    suspects = torch.tensor(top["train"].to_list(), dtype=torch.long)
    suggested = [inputs.study.labels.index(label) for label in top["suggested"]]
    right[suspects] = torch.tensor(suggested, dtype=torch.long)
    accuracy: dict[str, list[float]] = {way: [] for way in WAYS}
    with bar("trainings", seeds * len(WAYS)) as advance:
        for seed in range(seeds):
            drawn = torch.Generator().manual_seed(seed)
            some = torch.randperm(len(labels), generator=drawn)[: len(suspects)]
            ways = {
                AS_IT_IS: (everything, labels),
                WITHOUT: (_others(len(labels), suspects), labels),
                CORRECTED: (everything, right),
                RANDOM: (_others(len(labels), some), labels),
            }
            for way, (ids, targets) in ways.items():
                hit = outputs(seed, ids, targets).argmax(1).cpu() == asked
                accuracy[way].append(float(hit.float().mean()))
                advance(1)
    trained = WHOLE if is_whole else HEADS
    return Validation(len(suspects), len(asked), accuracy, trained, search.trusted)


def draw_validation(found: Validation) -> RenderableType:
    """Accuracy a way, its gain over no cleaning, and the verdict."""
    table = RichTable(box=None, padding=(0, 1))
    for name in ("trained on", "accuracy", "gain", "95 % interval"):
        table.add_column(name, justify="left" if name == "trained on" else "right")
    for way, seen in found.accuracy.items():
        mean, low, high = found.gain(way)
        gain = ("", "") if way == AS_IT_IS else (f"{mean:+.2%}", f"{low:+.2%} to {high:+.2%}")
        table.add_row(way, f"{sum(seen) / len(seen):.2%}", *gain)
    seeds = len(found.accuracy[AS_IT_IS])
    note = (
        f"\n{found.rows} rows removed or corrected, {seeds} trainings of {found.trained} a way, "
        f"accuracy on {found.queries:,} queries.\n{found.verdict}"
    )
    if found.asked_before:
        note += "\nThe search knew these queries' labels: the gain on others may be smaller."
    title = "what cleaning is worth"
    return Panel(Group(table, Text(note)), title=title, title_align="left")


def _classifiers(inputs: Inputs) -> Outputs:
    """The study's own classifier, its frozen layers computed once."""
    study, base = inputs.study, base_folder(inputs.study)
    assert study.training is not None
    device = devices_of(study.run.devices)[0].torch

    def objective_of(seed: int) -> fastif.TransformerObjective:
        return new_objective(study, base, inputs.train, seed, device)

    objective = objective_of(study.training.seed)
    tokenizer = fastif.load_tokenizer(base, objective.whole)

    def rows_of(table: Table) -> fastif.Examples:
        length = study.model.max_length
        texts = fastif.encode(
            tokenizer, table.texts, table.text_pairs, table.labels, length, device
        )
        return cached(objective, texts, study)

    train, queries = rows_of(inputs.train), rows_of(inputs.queries)

    def outputs(seed: int, ids: Tensor, labels: Tensor) -> Tensor:
        new = objective_of(seed)
        rows = Selected(fastif.Relabelled(train, labels), ids)
        new.params = fastif.fit(new, rows, recipe_of(study, seed))
        return fastif.predict(new, queries)[0]

    return outputs


def _heads(search: Search, mix: Sequence[float]) -> Outputs:
    """Linear heads on views that rows and queries are given together, mixed as in the search."""
    inputs, classes = search.inputs, len(search.inputs.study.labels)
    store = Store.open(store_path(inputs.study), inputs.study.name)
    tables = [inputs.train, inputs.queries]
    views = views_in(store, search, tables)
    train, queries = views.mixed(mix).split([len(table) for table in tables])

    def outputs(seed: int, ids: Tensor, labels: Tensor) -> Tensor:
        drawn = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
        kept = torch.zeros(len(train), dtype=torch.bool)
        kept[drawn[: round(KEPT * len(train))]] = True
        rows = ids[kept[ids]]
        targets = torch.nn.functional.one_hot(labels[rows], classes).float()
        return fit_head(train[rows], targets, DETECTOR.penalty)(queries)

    return outputs


def _others(count: int, ids: torch.Tensor) -> torch.Tensor:
    kept = torch.ones(count, dtype=torch.bool)
    kept[ids] = False
    return kept.nonzero()[:, 0]
