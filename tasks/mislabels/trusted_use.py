"""Sentences on trusted rows: whether a detection uses them, and why not."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from fastif.mislabels.trusted_comparison import MAX_DOMAIN_AUC, MIN_GAIN, TrustedComparison


def record_comparison(comparison: TrustedComparison | None) -> dict[str, Any]:
    """Return the entry of `facts.json` on the use of trusted rows; empty without such rows."""
    if comparison is None:
        return {}
    return {"trusted_use": asdict(comparison) | {"used": comparison.is_better}}


def describe_trusted(facts: dict[str, Any]) -> Iterator[str]:
    """Describe the trusted rows of a detection; nothing without such rows.

    Args:
        facts: Summary of a detection; earlier versions used all trusted rows.
    """
    if not facts["trusted"]:
        return
    use = facts.get("trusted_use")
    count = f"{facts['trusted']:,} queries with trusted labels"
    if use is None:
        yield count
        return
    accuracy = (
        f"a classifier of the table predicts {use['table_accuracy']:.0%} of them, one that learns "
        f"from the other trusted rows {use['trusted_accuracy']:.0%}"
    )
    yield f"{count}, {'used' if use['used'] else 'set aside'}: {accuracy}"
    if use["domain_auc"] > MAX_DOMAIN_AUC:
        yield (
            "they are of another domain than the table: a classifier tells them apart (area under "
            f"the ROC curve {use['domain_auc']:.2f}, at most {MAX_DOMAIN_AUC} is accepted). Give "
            "trusted rows of the table's sources"
        )
    elif use["table"] is None:
        yield "too few wrong labels are expected among them to measure whether they help"
    else:
        yield (
            f"of simulated wrong labels among them, the average precision is {use['trusted']:.2f} "
            f"with the others, {use['table']:.2f} by the table alone"
            + ("" if use["used"] else f"; a gain of more than {MIN_GAIN} is needed")
        )
