"""Summary of a mislabel detection, `facts.json` next to its table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import polars as pl
import torch
from torch import Tensor

from fastif.mislabels import knn
from fastif.mislabels.audit_sample import WRONG
from fastif.mislabels.external_classifier import ClassifierTrust
from fastif.mislabels.injected_flips import FlipRecall
from fastif.mislabels.label_posterior import LabelPosterior
from fastif.mislabels.labeled_data import LabeledData
from tasks.data.row_hashes import content_digests
from tasks.mislabels.detection_plan import DetectionPlan
from tasks.mislabels.group_errors import count_group_errors, make_count
from tasks.mislabels.label_count import SAMPLE
from tasks.mislabels.merged_annotations import Annotations
from tasks.mislabels.random_sample import RandomSample
from tasks.mislabels.trusted_use import record_comparison
from tasks.runtime.versions import read_versions


def make_facts(
    plan: DetectionPlan,
    data: LabeledData,
    posterior: LabelPosterior,
    recall: FlipRecall,
    frame: pl.DataFrame,
    sample: RandomSample | None,
    groups: Mapping[str, Sequence[str | None]],
) -> dict[str, Any]:
    """Return counts, limitations and versions of a detection.

    Args:
        plan: Input of the detection.
        data: Rows with features and given labels.
        posterior: Label posterior of the rows.
        recall: Recall on injected label flips.
        frame: Table of the detection.
        sample: Random audit samples that count; None without one.
        groups: Values of each group column, by its name, in the order of `data`.
    """
    inputs, study = plan.inputs, plan.inputs.study
    return {
        "study": study.name,
        "created": datetime.now(UTC).isoformat(),
        "rows": len(data.labels),
        "budget": min(study.mislabels.budget, len(data.labels)),
        "columns": list(inputs.train.measurements.notes) if inputs.train.measurements else [],
        "encoder": str(plan.encoder.folder.name) if plan.encoder else None,
        "encoder_saw_labels": plan.encoder_saw_labels,
        "trusted": len(inputs.queries) if plan.trusted else 0,
        **record_comparison(posterior.comparison),
        **_count_leaked_rows(plan),
        **_count_errors(plan, data, posterior, sample, groups),
        "noise": posterior.transition.tolist(),
        "skill": posterior.pseudo_r2,
        "informed": posterior.informed,
        "recall": asdict(recall),
        **_measure_search(data, posterior),
        **_describe_classifiers(plan, posterior.external),
        "reviewed": _count_reviewed(plan.annotations, frame),
        "harm": frame["harm"].null_count() == 0,
        "versions": read_versions(),
    }


def _count_errors(
    plan: DetectionPlan,
    data: LabeledData,
    posterior: LabelPosterior,
    sample: RandomSample | None,
    groups: Mapping[str, Sequence[str | None]],
) -> dict[str, Any]:
    """Estimated errors in all, by given label and by group; without a random sample there are none.

    Trusted rows do not count errors: an estimate by classifiers of any training
    assumes that its errors are like those of the labels.
    """
    audit = data.make_audit(posterior.prior_error)
    labels = {
        label: {"rows": int((data.labels == i).sum())}
        for i, label in enumerate(plan.inputs.study.labels)
    }
    facts = {"counted_by": None, "errors": None, "by_label": labels, "by_group": {}}
    is_counted = torch.ones_like(data.labels, dtype=torch.bool)
    total = posterior.estimate_errors()
    if audit is not None and sample is not None and total is not None:
        is_counted = ~audit.is_later
        by_label = {
            label: {**labels[label], **make_count(estimate, is_counted & (data.labels == i))}
            for i, label in enumerate(labels)
            if (estimate := posterior.estimate_errors(i)) is not None
        }
        facts = {
            "counted_by": SAMPLE,
            "errors": make_count(total, is_counted),
            "by_label": by_label,
            "by_group": count_group_errors(audit, sample, groups),
        }
    return facts | {"drawn": _describe_sample(data, sample, is_counted)}


def _describe_classifiers(
    plan: DetectionPlan, trust: Sequence[ClassifierTrust]
) -> dict[str, list[dict[str, Any]]]:
    """Kind and estimated reliability of each classifier of `[mislabels] judges`; empty if none."""
    labels = plan.inputs.study.labels
    classifiers = [
        asdict(each)
        | {
            "kind": column.kind,
            "rising": None if each.rising is None else labels[each.rising],
            "falling": None if each.falling is None else labels[each.falling],
        }
        for column, each in zip(plan.columns, trust, strict=True)
    ]
    return {"classifiers": classifiers} if classifiers else {}


def _measure_search(data: LabeledData, posterior: LabelPosterior) -> dict[str, float]:
    """Recall of the approximate search for nearest rows; empty if it is exact."""
    if len(data.labels) <= knn.MAX_EXACT_ROWS:
        return {}
    return {
        "neighbour_recall": knn.measure_neighbour_recall(data.features, posterior.neighbour_ids)
    }


def _count_leaked_rows(plan: DetectionPlan) -> dict[str, int]:
    """Number of trusted rows that are training rows too; empty if there are none."""
    if not plan.trusted:
        return {}
    train = set(content_digests(plan.inputs.train))
    leaked = sum(content in train for content in content_digests(plan.inputs.queries))
    return {"trusted_in_train": leaked} if leaked else {}


def _describe_sample(
    data: LabeledData, sample: RandomSample | None, is_counted: Tensor
) -> dict[str, int | bool] | None:
    audited = data.audited
    if audited is None or sample is None:
        return None
    return {
        "rows": len(audited.answered),
        "wrong": int((audited.verdict[audited.answered] == WRONG).sum()),
        "enough": audited.has_enough,
        "population": len(sample.population),
        "gone": sample.gone,
        "skipped": sample.skipped,
        "later": int((~is_counted).sum()) if audited.has_enough else 0,
    }


def _count_reviewed(annotations: Annotations, frame: pl.DataFrame) -> dict[str, Any]:
    """Number of reviewed rows, of wrong labels among them, and their expected number before.

    `foreseen` counts reviewed rows with a probability from before the review, in the table or
    corrected since.
    """
    rows = [row for row in annotations.agreed if row in annotations.predicted_at_review]
    wrong = sum(annotations.agreed[row] != annotations.labels[row] for row in annotations.agreed)
    return {
        "rows": len(annotations.agreed),
        "audited": len(annotations.audited),
        "wrong": wrong,
        "foreseen": len(rows),
        "foreseen_wrong": sum(annotations.agreed[row] != annotations.labels[row] for row in rows),
        "expected": float(sum(annotations.predicted_at_review[row] for row in rows)),
        "in_table": len(frame.filter(pl.col("reviewed").is_not_null())),
        "conflicts": len(annotations.conflicts),
        "renamed": dict(annotations.renamed),
        "unusable": dict(annotations.unusable),
    }
