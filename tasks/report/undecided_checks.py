"""Reasons why a check of reliability decides nothing, and what would decide it."""

from tasks.run.agreement import MIN_AGREEMENT, AgreementRecord

ENOUGH_QUERIES = 80
"""Number of queries with which a perfect recall is above 0.95 by its interval."""


def explain_recall(scanned: int, queries: int, limit: float) -> str:
    """Explain why a recall of candidates is neither above nor below its limit.

    Args:
        scanned: Number of queries that were scanned in full.
        queries: Number of queries of the run.
        limit: Least recall that passes.
    """
    enough = max(ENOUGH_QUERIES, 4 * scanned)
    checked = f"{scanned:,} of {queries:,} queries were" if scanned else "No query was"
    share = f"{limit:.0%}".replace("%", " %")
    check = f"check = {enough}, or " if enough <= queries else ""
    return (
        f"{checked} compared with a full scan, too few to show that the candidates contain {share} "
        f'of the rows with the largest effects. Set [candidates] {check}kind = "full", which '
        "misses none."
    )


def explain_curvature(agreement: AgreementRecord) -> str:
    """Explain why the agreement of sampled curvature rows is neither above nor below its limit."""
    if agreement.measured is None:
        return (
            "Effects by a sample of the curvature rows were not compared with those by all rows: "
            f"{agreement.lacks}. A larger [run] budget may leave time for it; [curvature] rows = "
            '"all" needs no comparison.'
        )
    point = agreement.measured.in_use
    return (
        f"On {agreement.measured.queries} queries, effects by {point.rows:,} curvature rows have a "
        f"correlation of {point.low:.2f} to {point.high:.2f} with those by all rows, and "
        f'{MIN_AGREEMENT} is enough. More [curvature] rows raise it; rows = "all" needs no '
        "comparison."
    )


def explain_flips(count: int) -> str:
    """Explain why the recall of labels that were flipped at random is neither high nor low.

    Args:
        count: Number of flipped labels.
    """
    if not count:
        return "No label was flipped: every row is reviewed or more likely wrong than right."
    return (
        f"The labels flipped at random ({count}) are too few to show that half of such labels are "
        "flagged. A larger training table has more of them."
    )
