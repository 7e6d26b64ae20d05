"""Whether cleaning pays: the study's own training, with and without the most suspicious rows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text
from scipy import stats

import fastif
from fastif.examples import Selected
from tasks.devices import devices_of
from tasks.job import cached
from tasks.mislabels import Found
from tasks.model import base_folder
from tasks.plan import Inputs, read_inputs
from tasks.problems import Problem, StudyError
from tasks.progress import bar
from tasks.tables import Table
from tasks.train import new_objective, recipe_of

AS_IT_IS, WITHOUT, CORRECTED, RANDOM = "as it is", "without", "suggested label", "random removed"
WAYS = (AS_IT_IS, WITHOUT, CORRECTED, RANDOM)


@dataclass(frozen=True)
class Validation:
    """Accuracy on the queries of models trained in several ways.

    Attributes:
        rows: how many training rows are removed or corrected.
        queries: how many rows accuracy is taken over.
        accuracy: by way, one number a seed; the seeds are the same for all ways.
    """

    rows: int
    queries: int
    accuracy: dict[str, list[float]]

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
    """Train the study's classifier again in each way, so many times.

    Raises:
        StudyError: the study does not say how its model is trained.
    """
    inputs = read_inputs(path)
    study = inputs.study
    if study.training is None:
        problem = Problem("[training]", "a section that says how to train", "none", "add one")
        raise StudyError(path, [problem])
    top = found.table.filter(pl.col("reviewed").is_null()).sort("rank")
    top = top.head(min(found.facts["budget"], len(inputs.train) // 2))
    train, queries, objective_of = _examples(inputs)
    labels = torch.tensor(inputs.train.labels)
    right = labels.clone()
    suspects = torch.tensor(top["train"].to_list())
    right[suspects] = torch.tensor([study.labels.index(label) for label in top["suggested"]])
    accuracy: dict[str, list[float]] = {way: [] for way in WAYS}
    with bar("trainings", seeds * len(WAYS)) as advance:
        for seed in range(seeds):
            drawn = torch.Generator().manual_seed(seed)
            some = torch.randperm(len(labels), generator=drawn)[: len(suspects)]
            ways = {
                AS_IT_IS: train,
                WITHOUT: Selected(train, _others(len(labels), suspects)),
                CORRECTED: fastif.Relabelled(train, right),
                RANDOM: Selected(train, _others(len(labels), some)),
            }
            for way, rows in ways.items():
                objective = objective_of(seed)
                objective.params = fastif.fit(objective, rows, recipe_of(study, seed))
                outputs, _ = fastif.predict(objective, queries)
                right_ones = outputs.argmax(1).cpu() == torch.tensor(inputs.queries.labels)
                accuracy[way].append(float(right_ones.float().mean()))
                advance(1)
    return Validation(len(suspects), len(queries), accuracy)


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
        f"\n{found.rows} rows removed or corrected, {seeds} trainings a way, accuracy on "
        f"{found.queries:,} queries.\n{found.verdict}"
    )
    title = "what cleaning is worth"
    return Panel(Group(table, Text(note)), title=title, title_align="left")


def _examples(
    inputs: Inputs,
) -> tuple[fastif.Examples, fastif.Examples, Callable[[int], fastif.TransformerObjective]]:
    """Training rows and queries with the frozen layers computed once, and a new model by seed."""
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

    return rows_of(inputs.train), rows_of(inputs.queries), objective_of


def _others(count: int, ids: torch.Tensor) -> torch.Tensor:
    kept = torch.ones(count, dtype=torch.bool)
    kept[ids] = False
    return kept.nonzero()[:, 0]
