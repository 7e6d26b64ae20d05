"""Wrong labels by group, estimated from a random audit sample: sources, annotators or regions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from fastif.mislabels.random_audit import CountEstimate, RandomAudit
from tasks.mislabels.group_counts import MAX_VALUES
from tasks.mislabels.random_sample import RandomSample


def count_group_errors(
    audit: RandomAudit, sample: RandomSample, groups: Mapping[str, Sequence[str | None]]
) -> dict[str, list[dict[str, Any]]]:
    """Estimate the number of wrong labels of every value of each group column.

    The order is by the lower bound of the share, so that a value with few verdicts does not come
    first by chance. A column with more than `MAX_VALUES` values is left out.

    Args:
        audit: Random audit of the rows.
        sample: Stored samples that the audit is of, with the groups of their rows.
        groups: Values of each group column, by its name, in the order of the rows.
    """
    counted = {}
    for name, values in groups.items():
        distinct = set(values)
        if len(distinct) <= MAX_VALUES:
            recorded = sample.list_group_values(name)
            rows = [_count_value(audit, values, recorded, value) for value in distinct]
            counted[name] = sorted(rows, key=_make_sort_key)
    return counted


def _count_value(
    audit: RandomAudit,
    values: Sequence[str | None],
    recorded: Sequence[str | None] | None,
    value: str | None,
) -> dict[str, Any]:
    is_in = torch.tensor([other == value for other in values])
    if recorded is None:  # a column that was added later: a missing row may be in any group
        missing = torch.zeros_like(audit.audited.label, dtype=torch.bool)
        bounds = [audit.estimate_in(is_in, mask) for mask in (missing, ~missing)]
    else:
        missing = torch.tensor([other == value for other in recorded])
        bounds = [audit.estimate_in(is_in, missing)]
    is_counted = is_in & ~audit.is_later
    count = _join_estimates(bounds)
    return {"value": value, "rows": int(is_in.sum()), **make_count(count, is_counted)}


def _join_estimates(estimates: Sequence[CountEstimate]) -> CountEstimate:
    """Return the first estimate with an interval over all of them."""
    low = min(estimate.low for estimate in estimates)
    high = max(estimate.high for estimate in estimates)
    return CountEstimate(estimates[0].expected, low, high, estimates[0].verdicts)


def make_count(errors: CountEstimate, is_counted: Tensor) -> dict[str, float | int | None]:
    """Return an estimate and the number of rows that it covers, as in `facts.json`."""
    rows = int(is_counted.sum())
    bounds = {"low": min(errors.low, float(rows)), "high": min(errors.high, float(rows))}
    return {**asdict(errors), **bounds, "counted": rows}


def _make_sort_key(row: Mapping[str, Any]) -> tuple:
    counted = max(row["counted"], 1)
    share = (row["expected"] or 0.0) / counted
    return (-row["low"] / counted, -share, row["value"] is None, row["value"] or "")
