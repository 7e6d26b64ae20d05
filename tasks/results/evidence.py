"""EVIDENCE: what the terminal and the report say of each number of the certificate."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import polars as pl

Row = dict[str, object]
Text = Callable[[Row], str | None]
"""From what was read of a run's certificates to words; None where there is nothing to say."""

MAX_RESIDUAL = 1e-2
"""Of a query whose equation counts as solved."""


@dataclass(frozen=True)
class ReportCheck:
    """A line of the report's table of checks.

    Attributes:
        measured: as measured.
        meaning: what it means, in a sentence or two.
        passed: whether it is as it should be; None where there is no limit.
        name: of it; the label on the terminal if left out.
    """

    measured: Callable[[Row], str]
    meaning: str
    passed: Callable[[Row], bool] | None = None
    name: str | None = None


@dataclass(frozen=True)
class EvidenceRow:
    """One number of the certificate, over all queries of a run.

    Attributes:
        name: of the field of `Certificate`, or of a column of the table `solves`.
        numbers: what is read of that table, by name. Where the first is null, nothing is said.
        label: of the number, for a reader.
        text: what stands behind the label on the terminal; None for no line.
        check: what stands in the report; None for no line.
        warning: what must not be overlooked, where there is something; also asked of null numbers.
    """

    name: str
    numbers: Mapping[str, pl.Expr] = field(default_factory=dict)
    label: str = ""
    text: Text | None = None
    check: ReportCheck | None = None
    warning: Text | None = None

    def is_known(self, diagnostics: Row) -> bool:
        """Whether a run has this number."""
        first = next(iter(self.numbers), None)
        return first is not None and diagnostics.get(first) not in (None, "")


def parse_count(value: object) -> int:
    """A count of the store; 0 where it is null."""
    return int(str(value)) if value is not None else 0


def _parse_float(value: object) -> float:
    return float(str(value))


def _describe_solver(diagnostics: Row) -> str:
    several = parse_count(diagnostics["models"]) > 1
    mean = f", mean of {diagnostics['models']} models" if several else ""
    return f"{diagnostics['solver']}, damping {diagnostics['damping']:g}{mean}"


def _describe_least_eigenvalue(diagnostics: Row) -> str | None:
    if _parse_float(diagnostics["least"]) == diagnostics["damping"]:
        return None
    return f"{_parse_float(diagnostics['least']):.2g} at least, damping and all"


def _warn_indefinite(diagnostics: Row) -> str | None:
    if diagnostics["least"] is None or _parse_float(diagnostics["least"]) > 0:
        return None
    least_eigenvalue = _parse_float(diagnostics["least"])
    return (
        "The curvature was not shown to be positive definite: with damping "
        f"{diagnostics['damping']:g} its least eigenvalue is {least_eigenvalue:.2g} at least. "
        "Raise the damping."
    )


def _describe_leverage(diagnostics: Row) -> str:
    """How an effect counts what a training row has of the curvature."""
    recorded = str(diagnostics["leverage"])
    if recorded == "on":
        return "on: effects of one Newton step after the removal"
    remedy = ' ([curvature] leverage = "auto")' if recorded == "off: not asked for" else ""
    return f"{recorded}{remedy}. Effects are to first order, too small for rows of much leverage"


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
    return "Most scores are plain gradient products: the damping drowns the curvature."


def _warn_dropped(diagnostics: Row) -> str | None:
    count = parse_count(diagnostics["dropped"])
    if not count:
        return None
    return f"{count} scores left out: the training row's gradient is not finite."


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
            "What is left of the equation that every query's answer solves. 0 is exact; 1 would be "
            "no answer at all.",
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
    ),
    EvidenceRow(
        "damping",
        {"damping": pl.col("damping").first()},
        label="damping",
        check=ReportCheck(
            "{damping:g}".format_map,
            "How strongly directions that the model hardly knows are held back. Too large, and "
            "influence becomes a plain product of gradients.",
        ),
    ),
    EvidenceRow(
        "gradient_cosine",
        {"cosine": pl.col("gradient_cosine").median()},
        label="cosine with gradient",
        text="{cosine:.2f} (1 = curvature changed nothing)".format_map,
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
            "Correlation of the effects with what would come out without curvature. Near 1 the "
            "curvature changed nothing.",
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
            "Rank correlation of the effects by models that were trained from other seeds: how "
            "much of a score is the data's and not the seed's.",
        ),
    ),
    EvidenceRow(
        "rounding",
        {"rounding": pl.col("rounding").min()},
        label="coarser scores",
        text="rank correlation {rounding:.4f} at least with full".format_map,
    ),
    EvidenceRow(
        "held",
        {"held": pl.col("held").mean(), "least_held": pl.col("held").min()},
        label="candidates hold",
        text=(
            "{held:.0%} of the size of all effects, {least_held:.0%} at least (estimated from "
            "random rows)"
        ).format_map,
        check=ReportCheck(
            "{held:.0%}".format_map,
            "Share of the size of all effects that the scored rows hold, estimated from random "
            "ones. The rest is many small effects.",
        ),
    ),
)
"""Every number of the certificate, in the order of the lines; one without a label is only stored.

A new number is a row here, a field of `Certificate` and a column of the table `solves`.
"""
