"""Flagged labels: training rows ranked by the probability of a wrong label, with the evidence."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from storage.mislabel_schemas import LABEL_SCORES
from storage.queries import HARM
from tasks.data.row_hashes import content_digest, row_digest
from tasks.mislabels.classifier_trust import describe_classifiers, warn_classifiers
from tasks.mislabels.contradictions import merge_contradictions
from tasks.mislabels.group_counts import GroupCounts, count_by_group, list_group_columns
from tasks.mislabels.informed_ranking import explain_chance, is_informed, select_informed
from tasks.mislabels.label_count import LabelCount, make_label_count
from tasks.mislabels.label_statement import LabelStatement
from tasks.mislabels.label_words import choose_none_word
from tasks.mislabels.merged_annotations import Annotations
from tasks.mislabels.results import MislabelResult
from tasks.mislabels.sample_changes import describe_sample_changes
from tasks.mislabels.strength import EXPLANATION, is_calibrated, name_score
from tasks.mislabels.trusted_use import describe_trusted
from tasks.report.formatting import Row
from tasks.report.label_matrix import LabelMatrix, make_label_matrix
from tasks.report.report_rows import ReportRows

SHOWN, MAX_HARMED = 300, 3
MAX_REVIEWED_CHARS = 2000
"""Characters of a text in the panel of the review and in exported files."""
SIGNALS = {
    "loss": "out-of-fold loss",
    "margin": "out-of-fold margin",
    "neighbours": "kNN disagreement",
    "neighbour_loss": "kNN loss",
    "training_margin": "area under the margin",
    "trained_margin": "area under the margin (fine-tuning)",
    "crossed_self_influence": "out-of-fold self-influence",
    "word_loss": "word n-gram naive Bayes",
    "letter_loss": "character trigram naive Bayes",
    "judged_loss": "other classifiers",
    "trusted_loss": "trusted rows",
    "harm": "harm to queries",
    "harm_same_label": "harm to queries of its label",
}
"""Names of the signals on the page by column of the table `mislabels`."""


@dataclass(frozen=True)
class FlaggedLabels:
    """Result of a search for wrong labels, prepared for the page.

    Attributes:
        facts: Totals of the search, see `tasks.mislabels.detect`.
        rows: Most suspicious rows. Each has `bars`, pairs of a signal and the row's percentile in
            it, or None where it was not measured (a row added after training); `near_*`, the
            nearest row of another label; `identical`, whether that row is identical; `harms`,
            harmed queries with the harm in nats; `new`, whether the previous search did not list
            the row. Identical rows with different labels are one row of the page.
        signals: Names of the bars.
        has_previous: Whether there is a previous search by the same procedure.
        statement: Statement on the number of wrong labels.
        groups: Suspicious labels by each group column with few values.
    """

    facts: dict[str, Any]
    rows: list[Row]
    signals: list[str]
    has_previous: bool
    statement: LabelStatement
    groups: tuple[GroupCounts, ...] = ()

    @property
    def identity(self) -> str:
        """Number and time of the search, which tell the searches of a store apart."""
        return f"{self.facts.get('number', 0)} {self.facts.get('created', '')}"

    @property
    def labels(self) -> list[str]:
        """Classes of the study."""
        names = self.facts.get("by_label") or {row["label"] for row in self.rows}
        return list(names) if isinstance(names, dict) else sorted(names)

    @property
    def none_word(self) -> str:
        """Value of `right_label` for a row that no class fits."""
        return choose_none_word(self.labels)

    @property
    def suggestions(self) -> LabelMatrix:
        """Given and suggested labels of the rows."""
        pairs = [(row["label"], row["suggested"]) for row in self.rows]
        return make_label_matrix(pairs, pairs)

    @property
    def score_name(self) -> str:
        """Name of the score of the rows: a probability only if annotations calibrate it."""
        return name_score(self.facts)

    @property
    def score_note(self) -> str | None:
        """Sentence on a score that is no probability; None for a probability."""
        return None if is_calibrated(self.facts) else f"{EXPLANATION}."

    @property
    def is_calibrated(self) -> bool:
        """Whether the scores are probabilities, which may be shown as numbers."""
        return is_calibrated(self.facts)

    @property
    def chance_note(self) -> str | None:
        """Sentence where chance is behind the ranking; None otherwise."""
        return None if is_informed(self.facts) else explain_chance(self.facts)

    @property
    def classifiers(self) -> list[str]:
        """Sentences on trusted rows and on classifiers of `[mislabels] judges`, and warnings."""
        lines = [f"Trusted rows: {line}." for line in describe_trusted(self.facts)]
        lines += [f"Classifier {line}." for line in describe_classifiers(self.facts)]
        return [*lines, *warn_classifiers(self.facts)]

    @property
    def errors_by_group(self) -> list[tuple[str, list[tuple[dict[str, Any], LabelCount]]]]:
        """Estimated wrong labels of the values of each group column; empty without a sample."""
        return [
            (name, [(row, make_label_count(row)) for row in values])
            for name, values in self.facts.get("by_group", {}).items()
        ]

    @property
    def audit_notes(self) -> list[str]:
        """Sentences on the random audit sample behind the count; empty without one."""
        return [f"{line}." for line in describe_sample_changes(self.facts)]


def format_signal(column: str) -> str:
    """Name a signal for readers of the page.

    >>> format_signal("letter_loss"), format_signal("self_influence")
    ('character trigram naive Bayes', 'self influence')
    """
    return SIGNALS.get(column, column.replace("_", " "))


def make_review_row(row: Row) -> Row:
    """Return what a review file has of a row, with the digest that identifies it."""
    text, pair = row["text"], row["text_pair"]
    return {
        "id": row["id"],
        "label": row["label"],
        "suggested": row["suggested"],
        "probability": row["probability"] and round(row["probability"], 4),
        "confidence": round(row["confidence"], 4),
        "text": text[:MAX_REVIEWED_CHARS],
        "text_pair": (pair or "")[:MAX_REVIEWED_CHARS],
        "row": row_digest(content_digest(text, pair), row["label"]).hex(),
    }


def read_flagged_labels(data: ReportRows) -> FlaggedLabels | None:
    """Read the newest search for wrong labels among the rows of a run; None without one."""
    result = data.mislabels
    if result is None:
        return None
    signals = [name for name in LABEL_SCORES if result.table[name].null_count() < len(result.table)]
    ranks = [
        (pl.col(name).rank("average") / pl.col(name).count()).alias(f"bar_{name}")
        for name in signals
    ]
    unreviewed = result.table.with_columns(ranks).filter(pl.col("reviewed").is_null())
    unreviewed = _drop_annotated(unreviewed, data.annotations)
    table = select_informed(unreviewed, result.facts).sort("rank")
    top = merge_contradictions(table).head(SHOWN)
    neighbours = result.table.select(
        conflicting="train", near_id="id", near_text="text", near_pair="text_pair",
        near_label="label", near_cluster="cluster",
    )  # fmt: skip
    top = top.join(neighbours, on="conflicting", how="left", maintain_order="left")
    sources = data.train.select("train", source=data.source_column)
    top = top.join(sources, on="train", how="left", maintain_order="left")
    harms = _list_harmed_queries(data, top)
    previous_ids = _read_previous_ids(data)
    rows: list[Row] = []
    for row in top.iter_rows(named=True):
        bars = [(name, row[f"bar_{name}"]) for name in signals]
        new = previous_ids is not None and row["id"] not in previous_ids
        more = {"bars": bars, "harms": harms.get(row["train"], []), "new": new}
        rows.append(row | more | {"identical": row["near_cluster"] == row["cluster"]})
    groups = tuple(counts for counts in _count_groups(data, result) if counts.values)
    has_previous = previous_ids is not None
    return FlaggedLabels(result.facts, rows, signals, has_previous, data.labels, groups)


def _drop_annotated(table: pl.DataFrame, annotations: Annotations) -> pl.DataFrame:
    """Drop rows that were annotated after the search."""
    if not annotations.agreed:
        return table
    rows = table.select("text", "text_pair", "label").iter_rows()
    digests = (row_digest(content_digest(text, pair), label) for text, pair, label in rows)
    return table.filter(
        pl.Series([row not in annotations.agreed for row in digests], dtype=pl.Boolean)
    )


def _count_groups(data: ReportRows, result: MislabelResult) -> Iterator[GroupCounts]:
    columns = list_group_columns(data.train)
    values = data.train.select("train", *columns)
    table = result.table.join(values, on="train", how="left", maintain_order="left")
    return count_by_group(select_informed(table, result.facts), result.facts["budget"])


def _list_harmed_queries(
    data: ReportRows, rows: pl.DataFrame
) -> dict[int, list[tuple[str, float]]]:
    scores = data.scores.join(rows.select("train"), on="train", how="semi")
    worst = scores.filter(HARM > 0).with_columns(harm=HARM).sort("train", "removal_effect")
    with_ids = worst.join(data.queries.select("query", "id"), on="query", maintain_order="left")
    harmed: dict[int, list[tuple[str, float]]] = {}
    for train, name, harm in with_ids.select("train", "id", "harm").iter_rows():
        queries = harmed.setdefault(train, [])
        if len(queries) < MAX_HARMED:
            queries.append((name, harm))
    return harmed


def _read_previous_ids(data: ReportRows) -> set[str] | None:
    """Ids of the first rows of the previous search; None if there was none.

    A search by another procedure does not count: a row that it missed need not be new.
    """
    procedure = data.mislabel_results[0].facts.get("procedure") if data.mislabel_results else None
    for result in data.mislabel_results[1:]:
        if result.facts.get("procedure") == procedure:
            return set(result.table.sort("rank").head(SHOWN)["id"].to_list())
    return None
