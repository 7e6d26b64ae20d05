"""Measured agreement of a run's sampled curvature with that of all rows, for its record."""

from dataclasses import dataclass
from typing import Any

from fastif.evaluation.curvature_agreement import AgreementPoint, CurvatureAgreement
from tasks.study.durations import format_duration

MIN_AGREEMENT = 0.9
"""Correlation below which the summary warns."""


@dataclass(frozen=True)
class AgreementRecord:
    """Measured agreement, or the reason why it was not measured.

    Attributes:
        measured: Agreement on the control queries; None if it was not measured.
        lacks: Reason why it was not measured; empty if it was.
        model: Path of the measured model in a study of several; empty in a study of one.
        seconds: Forecast time of the audit that measured it; None if unknown.
        twice_seconds: Forecast time of that audit with twice the curvature rows; None if unknown.
    """

    measured: CurvatureAgreement | None = None
    lacks: str = ""
    model: str = ""
    seconds: float | None = None
    twice_seconds: float | None = None

    def __str__(self) -> str:
        """Return one line for a summary.

        Examples:
            >>> print(AgreementRecord(lacks="it would take 20 min"))
            with the curvature of all rows not measured: it would take 20 min
            >>> points = tuple(AgreementPoint(m, r, r, r, r, r, r) for m, r in [(4, 0.6), (8, 0.8)])
            >>> f"{AgreementRecord(CurvatureAgreement(points, 8, 0.01, 3))}"[-75:]
            '80 % of the top 100 in common; with 4 rows 0.60; estimate for 16 rows: 0.90'
            >>> measured = CurvatureAgreement(points, 8, 0.01, 3)
            >>> f"{AgreementRecord(measured, seconds=480, twice_seconds=720)}"[-57:]
            'for 16 rows: 0.90, in 12 min instead of 8 min by forecast'
        """
        if self.measured is None:
            return f"with the curvature of all rows not measured: {self.lacks}"
        *smaller, point = self.measured.points
        of_model = f", of model {self.model}" if self.model else ""
        text = (
            f"with the curvature of all rows{of_model}, on {self.measured.queries} queries: "
            f"correlation of effects {point.pearson:.2f} ({point.low:.2f} - {point.high:.2f}), "
            f"{point.top_100:.0%} of the top 100 in common"
        ).replace("%", " %")
        if smaller:
            text += "; with " + ", ".join(f"{p.rows:,} rows {p.pearson:.2f}" for p in smaller)
        estimate = self.measured.estimate_of_twice
        if estimate is not None:
            text += f"; estimate for {2 * point.rows:,} rows: {estimate:.2f}{self._compare_times()}"
        return text

    def _compare_times(self) -> str:
        if self.seconds is None or self.twice_seconds is None:
            return ""
        now, twice = format_duration(self.seconds), format_duration(self.twice_seconds)
        return f", in {twice} instead of {now} by forecast"


def parse_agreement(record: dict[str, Any]) -> AgreementRecord:
    """Convert a JSON record to an agreement."""
    measured = record["measured"]
    if measured is not None:
        points = tuple(AgreementPoint(**point) for point in measured.pop("points"))
        measured = CurvatureAgreement(points, **measured)
    times = record.get("seconds"), record.get("twice_seconds")
    return AgreementRecord(measured, record["lacks"], record.get("model", ""), *times)
