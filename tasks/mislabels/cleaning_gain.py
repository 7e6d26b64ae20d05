"""Accuracy gain of data cleaning, by retraining with and without the flagged labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text
from torch import Tensor

import fastif
from fastif.data.relabeled_examples import RelabeledExamples
from fastif.mislabels.linear_head import fit_linear_head
from fastif.numerics.t_interval import mean_t_interval
from storage import Store
from tasks.data.dataset import Table
from tasks.data.inputs import Inputs
from tasks.mislabels.detect import make_views
from tasks.mislabels.detection_plan import DETECTOR, DetectionPlan, read_detection_plan
from tasks.mislabels.informed_ranking import check_informed, select_informed
from tasks.mislabels.results import MislabelResult
from tasks.models.finetune import make_training_config
from tasks.models.hidden_state_cache import cache_hidden_states
from tasks.models.locate import find_base_folder
from tasks.models.untrained_model import encode_rows, make_objective
from tasks.run.spec import resolve_store_path
from tasks.runtime.devices import resolve_devices
from tasks.runtime.progress import progress_bar
from tasks.study.errors import Problem, StudyError

UNCHANGED, REMOVED, CORRECTED, RANDOM_REMOVED = (
    "unchanged",
    "flagged rows removed",
    "flagged rows relabelled",
    "random rows removed",
)
STRATEGIES = (UNCHANGED, REMOVED, CORRECTED, RANDOM_REMOVED)
TRAIN_FRACTION = 0.8
"""Fraction of the rows on which a linear head is trained; each seed samples others."""

OWN_CLASSIFIER, LINEAR_HEAD = "the study's classifier", "a linear head on frozen features"

PredictFn = Callable[[int, Tensor, Tensor], Tensor]
"""Function of a seed, row positions and labels that trains, and returns logits of the queries."""


@dataclass(frozen=True)
class CleaningComparison:
    """Accuracy on the queries by cleaning strategy and seed.

    Attributes:
        rows: Number of training rows that are removed or corrected.
        queries: Number of rows on which accuracy is measured.
        accuracy: Accuracy by strategy, one number a seed; all strategies share the seeds.
        classifier: Description of the classifier that was trained.
        queries_trusted: Whether the detection used the queries as trusted rows.
    """

    rows: int
    queries: int
    accuracy: dict[str, list[float]]
    classifier: str
    queries_trusted: bool

    def estimate_gain(self, strategy: str, baseline: str = UNCHANGED) -> tuple[float, float, float]:
        """Return the mean paired difference of accuracy and its 95 % t interval over seeds."""
        pairs = zip(self.accuracy[strategy], self.accuracy[baseline], strict=True)
        mean, half = mean_t_interval([treated - reference for treated, reference in pairs])
        return mean, mean - half, mean + half

    @property
    def conclusion(self) -> str:
        """Conclusion in one sentence."""
        best = max((REMOVED, CORRECTED), key=lambda strategy: self.estimate_gain(strategy)[0])
        mean, low, high = self.estimate_gain(best)
        if low > 0:
            words = "removing them" if best == REMOVED else "the suggested labels"
            return f"Cleaning helps: {words} gains {mean:+.1%} ({low:+.1%} to {high:+.1%})."
        return (
            f"Cleaning has no significant gain over {len(self.accuracy[best])} seeds: "
            f"{mean:+.1%} at best ({low:+.1%} to {high:+.1%})."
        )


def compare_cleaning(path: Path, result: MislabelResult, seeds: int) -> CleaningComparison:
    """Retrain a classifier once a seed and cleaning strategy, and measure accuracy on the queries.

    The classifier is the study's own, with a new seed each time. A study without training uses a
    linear head on the features of the detection, on a random 80 % of the rows each time.

    Args:
        path: Study file.
        result: Mislabel detection of the study.
        seeds: Number of trainings a strategy.

    Raises:
        StudyError: The study has no queries to measure accuracy on.
        InputError: The ranking is one by chance.
    """
    plan = read_detection_plan(path)
    inputs = plan.inputs
    if not inputs.study.has_queries:
        expected = "a section with correctly labelled rows, in the columns of [train]"
        change = "add it: accuracy is measured on these rows"
        raise StudyError(path, [Problem("[queries]", expected, "none", change)])
    unreviewed = result.table.filter(pl.col("reviewed").is_null())
    flagged = select_informed(unreviewed, result.facts).sort("rank")
    check_informed(flagged, result.facts)
    flagged = flagged.head(min(result.facts["budget"], len(inputs.train) // 2))
    has_training = inputs.study.training is not None
    predict = (
        _make_classifier_fn(inputs) if has_training else _make_head_fn(plan, result.facts["mix"])
    )
    labels, query_labels = torch.tensor(inputs.train.labels), torch.tensor(inputs.queries.labels)
    corrected, all_ids = labels.clone(), torch.arange(len(labels))
    flagged_ids = torch.tensor(flagged["train"].to_list(), dtype=torch.long)
    suggested = [inputs.study.labels.index(label) for label in flagged["suggested"]]
    corrected[flagged_ids] = torch.tensor(suggested, dtype=torch.long)
    accuracy: dict[str, list[float]] = {strategy: [] for strategy in STRATEGIES}
    with progress_bar("gain of cleaning", seeds * len(STRATEGIES), "trainings") as advance:
        for seed in range(seeds):
            generator = torch.Generator().manual_seed(seed)
            random_ids = torch.randperm(len(labels), generator=generator)[: len(flagged_ids)]
            strategies = {
                UNCHANGED: (all_ids, labels),
                REMOVED: (_exclude_ids(len(labels), flagged_ids), labels),
                CORRECTED: (all_ids, corrected),
                RANDOM_REMOVED: (_exclude_ids(len(labels), random_ids), labels),
            }
            for strategy, (ids, targets) in strategies.items():
                is_correct = predict(seed, ids, targets).argmax(1).cpu() == query_labels
                accuracy[strategy].append(float(is_correct.float().mean()))
                advance(1)
    classifier = OWN_CLASSIFIER if has_training else LINEAR_HEAD
    return CleaningComparison(
        len(flagged_ids), len(query_labels), accuracy, classifier, plan.trusted
    )


def render_comparison(comparison: CleaningComparison) -> RenderableType:
    """Render accuracy and gain by strategy, and the conclusion, as a panel."""
    table = RichTable(box=None, padding=(0, 1))
    for name in ("trained on", "accuracy", "gain", "95 % interval"):
        table.add_column(name, justify="left" if name == "trained on" else "right")
    for strategy, accuracies in comparison.accuracy.items():
        mean, low, high = comparison.estimate_gain(strategy)
        gain = ("", "") if strategy == UNCHANGED else (f"{mean:+.2%}", f"{low:+.2%} to {high:+.2%}")
        table.add_row(strategy, f"{sum(accuracies) / len(accuracies):.2%}", *gain)
    seeds = len(comparison.accuracy[UNCHANGED])
    note = (
        f"\n{comparison.rows} rows removed or corrected; {seeds} trainings of "
        f"{comparison.classifier} per strategy; "
        f"accuracy on {comparison.queries:,} queries.\n{comparison.conclusion}"
    )
    if comparison.queries_trusted:
        note += "\nThe queries were trusted rows of the detection: the gain on others may be lower."
    title = "accuracy gain of cleaning"
    return Panel(Group(table, Text(note)), title=title, title_align="left")


def _make_classifier_fn(inputs: Inputs) -> PredictFn:
    """Training of the study's classifier; hidden states of frozen layers are computed once."""
    study, base = inputs.study, find_base_folder(inputs.study)
    assert study.training is not None
    device = resolve_devices(study.run.devices)[0].torch

    def make_with_seed(seed: int) -> fastif.Objective:
        return make_objective(study, base, inputs.train, seed, device)

    objective = make_with_seed(study.training.seed)

    def encode_table(table: Table) -> fastif.Examples:
        return cache_hidden_states(objective, encode_rows(study, base, objective, table)[1], study)

    train, queries = encode_table(inputs.train), encode_table(inputs.queries)

    def predict(seed: int, ids: Tensor, labels: Tensor) -> Tensor:
        model = make_with_seed(seed)
        examples = RelabeledExamples(train, labels).subset(ids)
        model.params = fastif.fit(model, examples, make_training_config(study, seed))
        return fastif.predict(model, queries)[0]

    return predict


def _make_head_fn(plan: DetectionPlan, weights: Sequence[float]) -> PredictFn:
    """Training of linear heads on the feature views of the detection, with its weights."""
    inputs, classes = plan.inputs, len(plan.inputs.study.labels)
    store = Store.open(resolve_store_path(inputs.study), inputs.study.name)
    tables = [inputs.train, inputs.queries]
    views = make_views(store, plan, tables)
    train, queries = views.concat_weighted(weights).split([len(table) for table in tables])

    def predict(seed: int, ids: Tensor, labels: Tensor) -> Tensor:
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
        is_kept = torch.zeros(len(train), dtype=torch.bool)
        is_kept[order[: round(TRAIN_FRACTION * len(train))]] = True
        rows = ids[is_kept[ids]]
        targets = torch.nn.functional.one_hot(labels[rows], classes).float()
        return fit_linear_head(train[rows], targets, DETECTOR.penalty)(queries)

    return predict


def _exclude_ids(count: int, ids: torch.Tensor) -> torch.Tensor:
    is_kept = torch.ones(count, dtype=torch.bool)
    is_kept[ids] = False
    return is_kept.nonzero()[:, 0]
