"""EVIDENCE: label, text, check and warning of each number of the certificate."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import polars as pl

Row = dict[str, object]
Text = Callable[[Row], str | None]
"""Function that formats the aggregated certificates of a run; None for no text."""

MAX_RESIDUAL = 1e-2
"""Largest relative residual at which a linear solve counts as converged."""


@dataclass(frozen=True)
class ReportCheck:
    """Row of the report's table of checks.

    Attributes:
        measured: Function that formats the measured value.
        meaning: Explanation for the reader, in a sentence or two.
        passed: Function that decides whether the check passes; None where there is no limit.
        name: Name in the table; the label on the terminal if omitted.
    """

    measured: Callable[[Row], str]
    meaning: str
    passed: Callable[[Row], bool] | None = None
    name: str | None = None


@dataclass(frozen=True)
class EvidenceRow:
    """Presentation of one number of the certificate, aggregated over the queries of a run.

    Attributes:
        name: Field of `Certificate`, or column of the table `solves`.
        numbers: Aggregations of that table by name. If the first is null, no line is shown.
        label: Label on the terminal.
        text: Function that formats the line on the terminal; None for no line.
        check: Row of the report's table; None for no row.
        warning: Function that returns a warning or None; also called where numbers are null.
    """

    name: str
    numbers: Mapping[str, pl.Expr] = field(default_factory=dict)
    label: str = ""
    text: Text | None = None
    check: ReportCheck | None = None
    warning: Text | None = None

    def is_known(self, diagnostics: Row) -> bool:
        """Whether the run has this number."""
        first = next(iter(self.numbers), None)
        return first is not None and diagnostics.get(first) not in (None, "")


def parse_count(value: object) -> int:
    """Parse a count of the store; null is 0."""
    return int(str(value)) if value is not None else 0


def _parse_float(value: object) -> float:
    return float(str(value))


def _describe_solver(diagnostics: Row) -> str:
    several = parse_count(diagnostics["models"]) > 1
    mean = f", mean of {diagnostics['models']} models" if several else ""
    if diagnostics["damping"] is None:
        return f"{diagnostics['solver']}, which solves no linear system"
    return f"{diagnostics['solver']}, damping {diagnostics['damping']:g}{mean}"


def _describe_least_eigenvalue(diagnostics: Row) -> str | None:
    if _parse_float(diagnostics["least"]) == diagnostics["damping"]:
        return None
    return f"at least {_parse_float(diagnostics['least']):.2g}, damping included"


def _warn_indefinite(diagnostics: Row) -> str | None:
    if diagnostics["least"] is None or _parse_float(diagnostics["least"]) > 0:
        return None
    least_eigenvalue = _parse_float(diagnostics["least"])
    return (
        f"The curvature may not be positive definite: with damping {diagnostics['damping']:g} the "
        f"lower bound of its least eigenvalue is {least_eigenvalue:.2g}. Raise the damping."
    )


def _describe_leverage(diagnostics: Row) -> str:
    """Describe whether effects are corrected for the leverage of the removed row."""
    recorded = str(diagnostics["leverage"])
    if recorded == "on":
        return "on: effects of one Newton step after the removal of a row"
    remedy = ' ([curvature] leverage = "auto")' if recorded == "off: not asked for" else ""
    return f"{recorded}{remedy}. Effects are first-order: too small for rows of high leverage"


def _describe_residual(diagnostics: Row) -> str:
    count = diagnostics["unconverged"]
    unconverged = f"  [{count} queries did not converge]" if count else ""
    return f"{diagnostics['worst_residual']:.1e}{unconverged}"


def _is_solved(diagnostics: Row) -> bool:
    worst = _parse_float(diagnostics["worst_residual"])
    return worst <= MAX_RESIDUAL and not diagnostics["unconverged"]


def _is_unlike_gradient_product(diagnostics: Row) -> bool:
    return 2 * parse_count(diagnostics["resembling"]) <= parse_count(diagnostics["answered"])


def _warn_gradient_product(diagnostics: Row) -> str | None:
    if _is_unlike_gradient_product(diagnostics):
        return None
    return "Most scores equal plain gradient products: the damping dominates the curvature."


def _warn_dropped(diagnostics: Row) -> str | None:
    count = parse_count(diagnostics["dropped"])
    if not count:
        return None
    return f"{count} scores are missing: the gradient of the training row is not finite."


_IS_ANSWERED = pl.col("reason").is_null()

EVIDENCE = (
    EvidenceRow("reasons", {"answered": _IS_ANSWERED.sum()}),
    EvidenceRow("converged", {"unconverged": (_IS_ANSWERED & ~pl.col("converged")).sum()}),
    EvidenceRow("models", {"models": pl.col("models").first()}),
    EvidenceRow("dropped", {"dropped": pl.col("dropped").sum()}, warning=_warn_dropped),
    EvidenceRow("steps"),
    EvidenceRow("gradient_norm"),
    EvidenceRow("solution_norm"),
    EvidenceRow("spread"),
    EvidenceRow(
        "solver",
        {"solver": pl.col("solver").first()},
        label="solver",
        text=_describe_solver,
    ),
    EvidenceRow(
        "least_eigenvalue",
        {"least": pl.col("least_eigenvalue").min()},
        label="least eigenvalue",
        text=_describe_least_eigenvalue,
        warning=_warn_indefinite,
    ),
    EvidenceRow(
        "route",
        {"route": pl.col("route").max()},  # "one by one" comes after "hooks"
        label="gradients",
        text="{route}".format_map,
    ),
    EvidenceRow(
        "leverage",
        {"leverage": pl.col("leverage").drop_nulls().unique().sort().str.join("; ")},
        label="leverage of rows",
        text=_describe_leverage,
    ),
    EvidenceRow(
        "residual",
        {"worst_residual": pl.col("residual").max()},
        label="largest residual",
        text=_describe_residual,
        check=ReportCheck(
            "{worst_residual:.1e} at most".format_map,
            "Relative residual of the linear system that is solved for each query, largest over "
            "queries. 0 is exact; 1 is the residual of a solution of zero.",
            _is_solved,
            name="residual",
        ),
    ),
    EvidenceRow(
        "full_residual",
        {
            "full_residual": pl.col("full_residual").median(),
            "worst_full_residual": pl.col("full_residual").max(),
        },
        label="residual on all rows",
        text="median {full_residual:.2g}, largest {worst_full_residual:.2g}".format_map,
        check=ReportCheck(
            "median {full_residual:.2g}, largest {worst_full_residual:.2g}".format_map,
            "The same residual with the curvature of all training rows. If the curvature was "
            "computed from a sample, it measures the error of the sample: near 1, the sample is "
            "too small for the damping.",
        ),
    ),
    EvidenceRow(
        "damping",
        {"damping": pl.col("damping").first()},
        label="damping",
        check=ReportCheck(
            "{damping:g}".format_map,
            "λ, added to every eigenvalue of the curvature. It suppresses directions of low "
            "curvature; if it is too large, influence becomes a plain product of gradients.",
        ),
    ),
    EvidenceRow(
        "gradient_cosine",
        {"cosine": pl.col("gradient_cosine").median()},
        label="cosine with gradient",
        text="{cosine:.2f} (1: the curvature has no effect)".format_map,
    ),
    EvidenceRow(
        "score_correlation",
        {
            "correlation": pl.col("score_correlation").median(),
            "resembling": (_IS_ANSWERED & pl.col("resembles_gradient_product")).sum(),
        },
        label="gradient product",
        text=(
            "correlation {correlation:.2f}; {resembling} of {answered} queries resemble it"
        ).format_map,
        check=ReportCheck(
            "{correlation:.2f}; {resembling} of {answered} resemble it".format_map,
            "Correlation of the effects with plain gradient products, that is, without curvature. "
            "Near 1 the curvature has no effect.",
            _is_unlike_gradient_product,
        ),
        warning=_warn_gradient_product,
    ),
    EvidenceRow(
        "agreement",
        {"agreement": pl.col("agreement").median()},
        label="agreement of models",
        text="{agreement:.2f} (rank correlation of their scores)".format_map,
        check=ReportCheck(
            "{agreement:.2f}".format_map,
            "Rank correlation of the effects between models trained from different seeds. High "
            "values mean that effects come from the data rather than from the seed.",
        ),
    ),
    EvidenceRow(
        "rounding",
        {"rounding": pl.col("rounding").min()},
        label="scores in reduced precision",
        text="rank correlation with full precision at least {rounding:.4f}".format_map,
    ),
    EvidenceRow(
        "held",
        {"held": pl.col("held").mean(), "least_held": pl.col("held").min()},
        label="captured effect",
        text=(
            "{held:.0%} of the total absolute effect, at least {least_held:.0%} for each query "
            "(estimated from random rows)"
        ).format_map,
        check=ReportCheck(
            "{held:.0%}".format_map,
            "Share of the total absolute effect of all training rows that the candidates account "
            "for, estimated from a random sample of rows. The rest consists of many small effects.",
        ),
    ),
)
"""Every number of the certificate, in the order of display; one without a label is only stored.

A new number needs an entry here, a field of `Certificate` and a column of the table `solves`.
"""
