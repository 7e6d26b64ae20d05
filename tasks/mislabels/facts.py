"""What a search for wrong labels says as a whole, as it is written beside its table."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl
from torch import Tensor

from fastif.mislabels.injected_flips import Recall
from fastif.mislabels.label_posterior import Suspicions
from fastif.mislabels.labeled_data import Rows
from fastif.mislabels.random_audit import Errors
from tasks.data.row_hashes import content_digests
from tasks.mislabels.annotations import Verdicts
from tasks.mislabels.label_count import SAMPLE, TRUSTED
from tasks.mislabels.random_sample import RandomSample
from tasks.run.spec import versions

if TYPE_CHECKING:  # a search asks this module what it says
    from tasks.mislabels.detect import Search


def search_facts(
    search: "Search",
    rows: Rows,
    found: Suspicions,
    recall: Recall,
    frame: pl.DataFrame,
    sample: RandomSample | None,
) -> dict[str, Any]:
    """Counts, and what limits them.

    Args:
        search: what was asked.
        rows: that were judged.
        found: of them.
        recall: of injected label flips.
        frame: the table.
        sample: the random samples that count.
    """
    inputs, study = search.inputs, search.inputs.study
    counted, by = rows.labels >= 0, None
    if found.sampled is not None and rows.drawn is not None and rows.known is not None:
        seen = rows.known != -1
        counted, by = seen | rows.drawn.population, SAMPLE
    elif search.trusted:
        by = TRUSTED
    return {
        "study": study.name,
        "created": datetime.now(UTC).isoformat(),
        "rows": len(rows.labels),
        "budget": min(study.mislabels.budget, len(rows.labels)),
        "columns": list(inputs.train.measured.notes) if inputs.train.measured else [],
        "encoder": str(search.encoder.folder.name) if search.encoder else None,
        "encoder_saw_labels": search.seen,
        "trusted": len(inputs.queries) if search.trusted else 0,
        **_trusted_rows(search),
        "counted_by": by,
        "errors": _count(found.errors(), counted),
        "drawn": _of_drawn(rows, sample, counted),
        "by_label": {
            label: {
                "rows": int((rows.labels == i).sum()),
                **(_count(found.errors(i), counted & (rows.labels == i)) or {}),
            }
            for i, label in enumerate(study.labels)
        },
        "noise": found.noise.tolist(),
        "skill": found.skill,
        "recall": asdict(recall),
        "reviewed": _reviewed(search.verdicts, frame),
        "harm": frame["harm"].null_count() == 0,
        "versions": versions(),
    }


def _trusted_rows(search: "Search") -> dict[str, int]:
    """How many rows of certain label are training rows too; nothing where none is."""
    if not search.trusted:
        return {}
    train = set(content_digests(search.inputs.train))
    leaked = sum(content in train for content in content_digests(search.inputs.queries))
    return {"trusted_in_train": leaked} if leaked else {}


def _count(errors: Errors | None, counted: Tensor) -> dict[str, float | int] | None:
    if errors is None:
        return None
    rows = int(counted.sum())
    # No more can be wrong than there are, whatever the spread of a model of the noise.
    ends = {name: min(value, float(rows)) for name, value in asdict(errors).items()}
    return {**ends, "counted": rows}


def _of_drawn(
    rows: Rows, sample: RandomSample | None, counted: Tensor
) -> dict[str, int | bool] | None:
    drawn = rows.drawn
    if drawn is None or sample is None:
        return None
    return {
        "rows": len(drawn.place),
        "wrong": int(drawn.wrong.sum()),
        "enough": drawn.enough,
        "population": len(sample.population),
        "gone": sample.gone,
        "skipped": sample.skipped,
        "later": int((~counted).sum()) if drawn.enough else 0,
    }


def _reviewed(verdicts: Verdicts, frame: pl.DataFrame) -> dict[str, Any]:
    """How many rows were looked at and were wrong, and how many had been expected to be.

    Of the same rows: those with a verdict and a probability from before it, in the table or
    mended since.
    """
    rows = [row for row in verdicts.settled if row in verdicts.before]
    wrong = sum(verdicts.settled[row] != verdicts.labels[row] for row in verdicts.settled)
    return {
        "rows": len(verdicts.settled),
        "wrong": wrong,
        "foreseen": len(rows),
        "foreseen_wrong": sum(verdicts.settled[row] != verdicts.labels[row] for row in rows),
        "expected": float(sum(verdicts.before[row] for row in rows)),
        "in_table": len(frame.filter(pl.col("reviewed").is_not_null())),
        "conflicts": len(verdicts.conflicts),
        "renamed": dict(verdicts.renamed),
        "unusable": dict(verdicts.unusable),
    }
