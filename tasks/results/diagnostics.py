"""Diagnostics of a run: its certificates aggregated over all queries, as text and as warnings."""

from collections.abc import Iterator, Sequence

import polars as pl

from tasks.results.evidence import EVIDENCE, EvidenceRow, Row
from tasks.study.errors import join_some

SHOWN = 5
MAX_LEAKED_SHARE = 0.01
"""Share of leaked queries (those that are training rows) from which the accuracy is unreliable."""


def read_diagnostics(solves: pl.LazyFrame, evidence: Sequence[EvidenceRow] = EVIDENCE) -> Row:
    """Aggregate the certificates of all scored queries; numbers of later versions are null."""
    numbers = {name: expr for row in evidence for name, expr in row.numbers.items()}
    return solves.select(**numbers).collect().to_dicts()[0]


def describe_diagnostics(
    diagnostics: Row, evidence: Sequence[EvidenceRow] = EVIDENCE
) -> Iterator[tuple[str, str]]:
    """Yield label and text of each diagnostic; those that a run does not have are skipped.

    >>> known = {"solver": "dual", "damping": 0.1, "models": 1, "answered": 9, "unconverged": 0}
    >>> list(describe_diagnostics(known | {"worst_residual": 2e-6, "full_residual": None}))
    [('solver', 'dual, damping 0.1'), ('largest residual', '2.0e-06')]
    """
    for row in evidence:
        text = row.text(diagnostics) if row.text and row.is_known(diagnostics) else None
        if text is not None:
            yield row.label, text


def warn_diagnostics(
    diagnostics: Row,
    quarantined: list[Row],
    nonfinite_ids: list[str],
    evidence: Sequence[EvidenceRow] = EVIDENCE,
) -> Iterator[str]:
    """Yield warnings: queries and training rows without scores, failed checks of the curvature."""
    reasons = dict.fromkeys(str(row["reason"]) for row in quarantined)
    for reason in reasons:
        names = [str(row["id"]) for row in quarantined if row["reason"] == reason]
        count = _format_count(names, "query", "queries")
        yield f"{count} without scores: {join_some(names, SHOWN)}. {reason}"
    if nonfinite_ids:
        names = _format_count(nonfinite_ids, "training row", "training rows")
        yield f"{names} with a loss that is not finite: {join_some(nonfinite_ids, SHOWN)}."
    for row in evidence:
        warning = row.warning(diagnostics) if row.warning else None
        if warning is not None:
            yield warning


def _format_count(names: list[str], singular: str, plural: str) -> str:
    return f"{len(names)} {singular if len(names) == 1 else plural}"


def format_loss(loss: object) -> str:
    """Format a loss with two decimals.

    >>> format_loss(2.345), format_loss(None)
    ('2.35', 'not finite')
    """
    return "not finite" if loss is None else f"{float(str(loss)):.2f}"
