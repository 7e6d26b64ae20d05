"""Export for human review: flagged labels, one row a cluster, or a random audit sample."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from fastif import InputError
from storage import Store
from storage.atomic import commit_file
from tasks.data.csv_escape import escape_formulas
from tasks.data.inputs import read_inputs
from tasks.data.row_hashes import content_digest, row_digest
from tasks.mislabels.annotations import read_annotations
from tasks.mislabels.contradictions import name_contradictions
from tasks.mislabels.doubtful_rows import MIN_PROBABILITY, select_doubtful
from tasks.mislabels.gain_order import ReviewOrder, sort_by_gain
from tasks.mislabels.group_counts import list_group_columns
from tasks.mislabels.informed_ranking import check_informed, select_informed
from tasks.mislabels.label_studio import make_labelling_tasks
from tasks.mislabels.label_words import choose_none_word
from tasks.mislabels.merged_annotations import Annotations
from tasks.mislabels.results import MislabelResult, read_current_result
from tasks.mislabels.sample_design import RandomReview, sample_rows
from tasks.mislabels.stored_samples import write_sample
from tasks.mislabels.strength import name_score
from tasks.runtime.writable_path import check_outside

FORMATS = ("csv", "parquet", "json")
COLUMNS = (
    *("id", "label", "suggested", "probability", "confidence", "text", "text_pair"),
    *("alike", "contradicts"),
)
SAMPLE_COLUMNS = ("id", "label", "text", "text_pair")
"""Columns of a random audit sample: nothing that would influence the reviewers."""


@dataclass(frozen=True)
class ReviewExport:
    """Outcome of an export for human review.

    Attributes:
        rows: Number of rows written.
        left_out: Number of rows within the budget that were left out, since hardly any evidence
            is against their labels.
        order: Order of the rows, in words.
    """

    rows: int
    left_out: int = 0
    order: str = "in random order"


RANDOM_ROWS = 100
"""Size of a random audit sample that messages recommend."""


def export_review(
    study: Path,
    store: Store,
    path: Path,
    budget: int | None = None,
    random: int | None = None,
    order: ReviewOrder = "doubt",
) -> ReviewExport:
    """Export rows for human review as a new file.

    Args:
        study: Study file.
        store: Store of the study.
        path: Output file, .csv, .parquet or .json, outside the store.
        budget: Number of rows without `random`; None exports up to `[mislabels] budget` rows that
            have a probability of `MIN_PROBABILITY` or more.
        random: Size of a random audit sample; None exports the most suspicious rows.
        order: Order of the most suspicious rows.

    Raises:
        InputError: The file exists, has an unknown suffix, or is in the store; every row is
            annotated; no row is doubtful; or a gain is requested where the ranking is chance.
        StoreError: The store has no detection of the current training rows.
    """
    inputs = read_inputs(study, "`fastif review export`")
    result = read_current_result(store, inputs)
    check_new_file(path)
    check_outside(store.layout.root, path)
    annotations = read_annotations(store, inputs.train, inputs.study.labels)
    if random:
        sample = select_sample(result, random, annotations)
        frame = make_sample_frame(sample)
        rows = write_review(
            frame, path, lambda: write_sample(store, sample.population, sample.rows)
        )
        return ReviewExport(rows)
    limit = budget or inputs.study.mislabels.budget
    gain, words = None, f"ordered by the {name_score(result.facts)} of the doubt"
    if order == "gain":
        gain, words = _compute_gain(study, store, result, annotations)
    # By gain, certain rows may come before doubtful ones; they do not use up the budget.
    most = limit if gain is None or budget else len(result.table)
    frame = make_review_frame(result, most, annotations, gain)
    check_informed(frame, result.facts)
    _check_unreviewed(frame)
    doubtful = frame if budget else select_doubtful(frame).head(limit)
    if doubtful.is_empty():
        raise InputError(
            "rows to review",
            f"a row with a probability of {MIN_PROBABILITY:g} or more of a wrong label",
            "none",
            f"Nothing needs a review. `fastif review export --random {RANDOM_ROWS}` checks this.",
        )
    left_out = min(limit, len(frame)) - len(doubtful)
    named = doubtful.rename({"probability": name_score(result.facts)})
    return ReviewExport(write_review(named, path), left_out, words)


def _compute_gain(
    study: Path, store: Store, result: MislabelResult, annotations: Annotations
) -> tuple[pl.Series, str]:
    """Column `gain` of the table, and the order by it in words; no work for a refused export."""
    # Features without information have no gain, even where identical rows contradict each other.
    check_informed(result.table.clear(), result.facts)
    _check_unreviewed(_select_unreviewed(result, annotations))
    from tasks.mislabels.review_order import compute_gain_column  # imports torch

    gain, place = compute_gain_column(study, store, result)
    return gain, f"ordered by the expected gain of a classifier that is trained again, on {place}"


def _check_unreviewed(rows: pl.DataFrame) -> None:
    if rows.is_empty():
        raise InputError(
            "rows to review",
            "a row without an annotation",
            "annotations of every row",
            "Nothing is left to review. `fastif mislabels` uses the annotations.",
        )


def make_review_frame(
    result: MislabelResult,
    budget: int,
    annotations: Annotations | None = None,
    gain: pl.Series | None = None,
) -> pl.DataFrame:
    """Return the most suspicious unreviewed rows, one a cluster, with columns to fill in.

    Args:
        result: Mislabel detection.
        budget: Maximum number of rows.
        annotations: Merged annotations of the store; annotated rows are left out.
        gain: Expected gain of a review of each row of the detection, null where unknown. Rows are
            sorted by it; a row counts with all unreviewed rows of its cluster, since its annotation
            decides them. None sorts by rank.
    """
    if gain is not None:
        result = replace(result, table=result.table.with_columns(gain.alias("gain")))
    unreviewed = select_informed(_select_unreviewed(result, annotations), result.facts)
    unreviewed = unreviewed.sort("rank")
    cluster_sizes = unreviewed.group_by("cluster").agg(alike=pl.len())
    first = unreviewed.unique("cluster", keep="first", maintain_order=True)
    first = (first if gain is None else sort_by_gain(first, unreviewed)).head(budget)
    first = first.join(cluster_sizes, on="cluster", how="left", maintain_order="left")
    return _add_review_columns(name_contradictions(first, unreviewed), COLUMNS, False)


def select_sample(
    result: MislabelResult, count: int, annotations: Annotations | None = None
) -> RandomReview:
    """Return a random sample of the unreviewed rows; see `tasks.mislabels.sample_design`.

    The population belongs to it, since an estimate does not cover rows added later.

    Args:
        result: Mislabel detection.
        count: Sample size; all unreviewed rows if there are fewer.
        annotations: Merged annotations of the store; annotated rows are left out.

    Raises:
        InputError: Every row has an annotation.
    """
    unreviewed = _select_unreviewed(result, annotations)
    _check_unreviewed(unreviewed)
    return sample_rows(unreviewed, count)


def make_sample_frame(sample: RandomReview) -> pl.DataFrame:
    """Return the rows of a random audit sample with columns to fill in.

    Suggestions and probabilities are left out: reviewers who see them agree with them.
    """
    return _add_review_columns(sample.rows, SAMPLE_COLUMNS, True)


def write_review(
    frame: pl.DataFrame, path: Path, before_commit: Callable[[], object] | None = None
) -> int:
    """Write review rows as .csv, .parquet or .json (Label Studio), and return their number.

    Args:
        frame: Rows to review.
        path: New file.
        before_commit: Function that is called once the rows are on the disk, before the file has
            its name; nothing is recorded if the rows cannot be written.

    Raises:
        InputError: The file exists or has an unknown suffix.
        StoreError: The file cannot be written; no partial file is left.
    """
    check_new_file(path)

    def write_file(temp_path: Path) -> None:
        if path.suffix == ".json":
            content = json.dumps(make_labelling_tasks(frame), indent=1) + "\n"
            temp_path.write_text(content, "utf-8")
        elif path.suffix == ".csv":
            escape_formulas(frame).write_csv(temp_path)
        else:
            frame.write_parquet(temp_path)
        if before_commit is not None:
            before_commit()

    commit_file(path, write_file)
    return len(frame)


def check_new_file(path: Path) -> None:
    """Refuse an existing file, or an unknown suffix.

    Raises:
        InputError: The file exists or has an unknown suffix.
    """
    if path.suffix.removeprefix(".") not in FORMATS:
        raise InputError(
            f"--out {path}",
            "a file name with .csv, .parquet or .json",
            f"{path.suffix or 'no suffix'}",
            "Choose one of these formats.",
        )
    if path.exists():
        raise InputError(
            f"--out {path}",
            "a new file",
            "one that exists",
            "It may contain annotations: choose another name.",
        )


def list_conflicts(
    annotations: Annotations, ids: list[str], digests: list[bytes], labels: tuple[str, ...]
) -> pl.DataFrame:
    """Return rows on which reviewers disagree: id, given label, and right label by reviewer.

    Args:
        annotations: Merged annotations of the store.
        ids: Id of each training row.
        digests: Digest of each training row.
        labels: Label names of the study.
    """
    positions = {row: i for i, row in enumerate(digests)}
    none_label = choose_none_word(labels)
    rows = [
        {
            "id": ids[positions[row]],
            "label": annotations.labels[row],
            "said": ", ".join(
                f"{reviewer or 'somebody'}: {label or none_label}"
                for reviewer, label in by_reviewer.items()
            ),
        }
        for row, by_reviewer in annotations.conflicts.items()
        if row in positions
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(("id", "label", "said"), pl.String))


def _select_unreviewed(result: MislabelResult, annotations: Annotations | None) -> pl.DataFrame:
    """Rows without an annotation, with their digests."""
    texts = result.table.select("text", "text_pair", "label").iter_rows()
    rows = [row_digest(content_digest(a, b), label) for a, b, label in texts]
    table = result.table.with_columns(row=pl.Series(rows, dtype=pl.Binary))
    known = {} if annotations is None else annotations.agreed
    is_unreviewed = pl.Series([row not in known for row in rows], dtype=pl.Boolean)
    return table.filter(pl.col("reviewed").is_null() & is_unreviewed)


def _add_review_columns(rows: pl.DataFrame, names: Sequence[str], sampled: bool) -> pl.DataFrame:
    blank = {name: pl.lit(None, pl.String) for name in ("right_label", "reviewer")}
    digest = pl.col("row").bin.encode("hex")
    columns = (*names, *list_group_columns(rows))
    return rows.select(*columns, digest.alias("row")).with_columns(**blank, drawn=pl.lit(sampled))
