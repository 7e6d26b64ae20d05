"""Result tables of several annotators: consensus of the rows, accuracy of the annotators."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch

from fastif import InputError
from fastif.mislabels.annotator_intervals import compute_accuracy_intervals
from fastif.mislabels.dawid_skene import AnnotatorModel, count_votes, fit_annotator_model
from storage.atomic import commit_file
from tasks.data.csv_escape import escape_formulas
from tasks.mislabels.annotation_table import NamedAnnotations

SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True)
class AnnotatorTables:
    """Consensus of the rows, in their order, and accuracy of the annotators, the best first.

    Attributes:
        rows: Columns row, consensus (null without an annotation), probability (of the consensus),
            annotations, agreeing (with the consensus), gain (expected increase of the probability
            of a right consensus by one more annotation) and rank (0 for the row that needs one
            most).
        annotators: Columns annotator, annotations, accuracy, low and high (90 % interval),
            confused (most frequent error).
    """

    rows: pl.DataFrame
    annotators: pl.DataFrame


def compute_annotator_tables(annotations: NamedAnnotations) -> AnnotatorTables:
    """Fit the model of Dawid and Skene (1979), and tabulate its results.

    Args:
        annotations: Annotations with names.
    """
    model = fit_annotator_model(annotations.data)
    return AnnotatorTables(
        _tabulate_rows(annotations, model), _tabulate_annotators(annotations, model)
    )


def write_consensus(tables: AnnotatorTables, path: Path) -> int:
    """Write the consensus as .csv or .parquet, and return the number of rows.

    Raises:
        InputError: The file exists or has another suffix.
        StoreError: The file cannot be written; no partial file is left.
    """
    check_consensus_file(path)

    def write(temp_path: Path) -> None:
        if path.suffix == ".csv":
            escape_formulas(tables.rows).write_csv(temp_path)
        else:
            tables.rows.write_parquet(temp_path)

    commit_file(path, write)
    return len(tables.rows)


def check_consensus_file(path: Path) -> None:
    """Refuse an existing file, or a suffix other than .csv and .parquet.

    Raises:
        InputError: The file exists or has another suffix.
    """
    if path.suffix not in SUFFIXES:
        got = path.suffix or "no suffix"
        raise InputError(f"--out {path}", "a file name with .csv or .parquet", got, "Choose one.")
    if path.exists():
        raise InputError(f"--out {path}", "a new file", "one that exists", "Choose another name.")


def _tabulate_rows(annotations: NamedAnnotations, model: AnnotatorModel) -> pl.DataFrame:
    counts = annotations.data.annotations_per_row
    consensus = model.consensus
    agreeing = count_votes(annotations.data).gather(1, consensus[:, None])[:, 0]
    rank = torch.empty_like(consensus)
    rank[model.review_order] = torch.arange(len(consensus))
    names = annotations.labels
    return pl.DataFrame(
        {
            "row": annotations.rows,
            "consensus": [
                names[label] if count else None
                for label, count in zip(consensus.tolist(), counts.tolist(), strict=True)
            ],
            "probability": model.posterior.amax(1).tolist(),
            "annotations": counts.tolist(),
            "agreeing": agreeing.long().tolist(),
            "gain": model.gain.tolist(),
            "rank": rank.tolist(),
        },
        schema_overrides={"row": pl.String, "consensus": pl.String},
    )


def _tabulate_annotators(annotations: NamedAnnotations, model: AnnotatorModel) -> pl.DataFrame:
    low, high = compute_accuracy_intervals(model)
    frame = pl.DataFrame(
        {
            "annotator": annotations.annotators,
            "annotations": annotations.data.annotations_per_annotator.tolist(),
            "accuracy": model.accuracy.tolist(),
            "low": low.tolist(),
            "high": high.tolist(),
            "confused": [
                _name_confusion(model, k, annotations.labels)
                for k in range(len(annotations.annotators))
            ],
        }
    )
    return frame.sort("accuracy", "annotations", descending=True, maintain_order=True)


def _name_confusion(model: AnnotatorModel, annotator: int, labels: list[str]) -> str:
    """Most frequent error of an annotator, `true class as label`."""
    errors = model.class_shares[:, None] * model.confusion[annotator]
    cell = int(errors.fill_diagonal_(0.0).argmax())
    true, given = divmod(cell, len(labels))
    return f"{labels[true]} as {labels[given]}"
