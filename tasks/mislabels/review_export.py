"""What goes to reviewers: the most suspicious rows, those alike as one decision, or a sample."""

import hashlib
import json
from pathlib import Path

import polars as pl

from fastif import InputError
from storage import Store
from storage.atomic import commit_file
from tasks.data.csv_escape import escape_formulas
from tasks.data.inputs import read_inputs
from tasks.data.row_hashes import content_digest, row_digest
from tasks.mislabels.annotations import read_annotations
from tasks.mislabels.label_studio import make_labelling_tasks
from tasks.mislabels.label_words import choose_none_word
from tasks.mislabels.merged_annotations import Annotations
from tasks.mislabels.results import MislabelResult, read_current_result
from tasks.mislabels.stored_samples import write_sample
from tasks.runtime.writable_path import check_outside

FORMATS = ("csv", "parquet", "json")
COLUMNS = ("id", "label", "suggested", "probability", "confidence", "text", "text_pair", "alike")


def export_review(
    study: Path, store: Store, path: Path, budget: int, random: int | None = None
) -> int:
    """Write what people should look at next as one new file; how many decisions it has.

    Args:
        study: the study file.
        store: its store.
        path: .csv, .parquet or .json, in no folder of the store.
        budget: most decisions where the most suspicious rows are asked for.
        random: rows of a random sample instead; None for the most suspicious ones.

    Raises:
        InputError: the file is there, has another ending, or lies in the store.
        StoreError: nothing was searched among the training rows as they are.
    """
    inputs = read_inputs(study)
    result = read_current_result(store, inputs)
    check_new_file(path)
    check_outside(store.layout.root, path)
    annotations = read_annotations(store, inputs.train, inputs.study.labels)
    if random:
        return write_review(sample_for_review(store, result, random, annotations), path)
    return write_review(make_review_frame(result, budget, annotations), path)


def make_review_frame(
    result: MislabelResult, budget: int, annotations: Annotations | None = None
) -> pl.DataFrame:
    """One row a decision, the most suspicious first, with columns to fill in.

    Args:
        result: a search.
        budget: most decisions.
        annotations: of the store; rows that have one since the search are left out.
    """
    unreviewed = _select_unreviewed(result, annotations).sort("rank")
    cluster_sizes = unreviewed.group_by("cluster").agg(alike=pl.len())
    first = unreviewed.unique("cluster", keep="first", maintain_order=True).head(budget)
    return _add_review_columns(
        first.join(cluster_sizes, on="cluster", how="left", maintain_order="left"), False
    )


def sample_for_review(
    store: Store, result: MislabelResult, count: int, annotations: Annotations | None = None
) -> pl.DataFrame:
    """A random sample of the rows without a verdict, with the same columns and `sampled`.

    The order is that of a digest of each row's content: chance to whatever is wrong with it, and
    the same rows again until they have verdicts. What the sample is drawn from is recorded in the
    store, since no count holds for rows that come later.

    Args:
        store: of the study.
        result: a search.
        count: most rows.
        annotations: of the store; rows that have one since the search are left out.
    """
    unreviewed = _select_unreviewed(result, annotations)
    # Of rows alike to the letter each has a chance of its own.
    copy_number = pl.int_range(pl.len()).over("row")
    numbers = unreviewed.select("row", again=copy_number).iter_rows()
    sampling_keys = pl.Series(
        "chance", [_compute_sampling_key(row, number) for row, number in numbers], pl.Binary
    )
    sample = unreviewed.with_columns(sampling_keys).sort("chance").head(count)
    write_sample(store, unreviewed, sample)
    # One decision a row: what is like it was not drawn, though it gets the same verdict.
    return _add_review_columns(sample.with_columns(alike=pl.lit(1, pl.UInt32)), True)


def write_review(frame: pl.DataFrame, path: Path) -> int:
    """Write decisions as .csv, .parquet or .json (Label Studio); how many there are.

    Raises:
        InputError: another ending, or a file that is there.
        StoreError: it cannot be written, or not whole; then nothing is left behind.
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

    commit_file(path, write_file)
    return len(frame)


def check_new_file(path: Path) -> None:
    """Refuse a file that is there, or of another ending than ours.

    Raises:
        InputError: it is.
    """
    if path.suffix.removeprefix(".") not in FORMATS:
        raise InputError(
            f"--out {path}", ".csv, .parquet or .json", f"{path.suffix or 'no ending'}", "Name one."
        )
    if path.exists():
        raise InputError(
            f"--out {path}", "a new file", "one that exists", "It may hold verdicts; name another."
        )


def list_conflicts(
    annotations: Annotations, ids: list[str], digests: list[bytes], labels: tuple[str, ...]
) -> pl.DataFrame:
    """Rows on which reviewers disagree: id, label, and who says what.

    Args:
        annotations: of the store.
        ids: of the training rows.
        digests: theirs.
        labels: the study's label names.
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
    """Rows without a verdict, and their digests."""
    texts = result.table.select("text", "text_pair", "label").iter_rows()
    rows = [row_digest(content_digest(a, b), label) for a, b, label in texts]
    table = result.table.with_columns(row=pl.Series(rows, dtype=pl.Binary))
    known = {} if annotations is None else annotations.agreed
    is_unreviewed = pl.Series([row not in known for row in rows], dtype=pl.Boolean)
    return table.filter(pl.col("reviewed").is_null() & is_unreviewed)


def _add_review_columns(rows: pl.DataFrame, sampled: bool) -> pl.DataFrame:
    blank = {name: pl.lit(None, pl.String) for name in ("right_label", "reviewer")}
    digest = pl.col("row").bin.encode("hex")
    return rows.select(*COLUMNS, digest.alias("row")).with_columns(**blank, drawn=pl.lit(sampled))


def _compute_sampling_key(row: bytes, number: int) -> bytes:
    return hashlib.sha256(b"drawn" + row + number.to_bytes(8, "big")).digest()
