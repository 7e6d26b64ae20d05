"""How far to trust a run: its certificates as a whole, in words."""

from collections.abc import Iterator

import polars as pl

from tasks.study.errors import join_some

SHOWN = 5
MAX_LEAKED_SHARE = 0.01
"""Share of the queries that are training rows from which their accuracy is not to be trusted."""
Row = dict[str, object]


def read_diagnostics(solves: pl.LazyFrame) -> Row:
    """The evidence of all queries that have an answer; what an older version left out is null."""
    answered = pl.col("reason").is_null()
    return (
        solves.select(
            damping=pl.col("damping").first(),
            solver=pl.col("solver").first(),
            models=pl.col("models").first(),
            answered=answered.sum(),
            worst_residual=pl.col("residual").max(),
            full_residual=pl.col("full_residual").median(),
            worst_full_residual=pl.col("full_residual").max(),
            unconverged=(answered & ~pl.col("converged")).sum(),
            cosine=pl.col("gradient_cosine").median(),
            correlation=pl.col("score_correlation").median(),
            resembling=(answered & pl.col("resembles_gradient_product")).sum(),
            agreement=pl.col("agreement").median(),
            held=pl.col("held").mean(),
            least_held=pl.col("held").min(),
            rounding=pl.col("rounding").min(),
            least=pl.col("least_eigenvalue").min(),
            route=pl.col("route").max(),  # "one by one" comes after "hooks"
            leverage=pl.col("leverage").drop_nulls().unique().sort().str.join("; "),
            dropped=pl.col("dropped").sum(),
        )
        .collect()
        .to_dicts()[0]
    )


def format_unconverged(diagnostics: Row) -> str:
    """A remark on queries that did not converge; empty if all did."""
    count = diagnostics["unconverged"]
    return f"  [{count} queries did not converge]" if count else ""


def describe_diagnostics(diagnostics: Row) -> Iterator[tuple[str, str]]:
    """What the certificates say of the run as a whole, name by name; what is not known is left out.

    >>> known = {"solver": "dual", "damping": 0.1, "models": 1, "answered": 9, "unconverged": 0}
    >>> known |= {"worst_residual": 2e-6, "full_residual": None, "agreement": None, "held": None}
    >>> known |= {"rounding": None}
    >>> list(describe_diagnostics(known | {"cosine": None, "correlation": None}))
    [('solver', 'dual, damping 0.1'), ('largest residual', '2.0e-06')]
    """
    least_eigenvalue = diagnostics.get("least")
    several = parse_count(diagnostics["models"]) > 1
    mean = f", mean of {diagnostics['models']} models" if several else ""
    yield "solver", f"{diagnostics['solver']}, damping {diagnostics['damping']:g}{mean}"
    if least_eigenvalue is not None and float(str(least_eigenvalue)) != diagnostics["damping"]:
        yield "least eigenvalue", f"{float(str(least_eigenvalue)):.2g} at least, damping and all"
    if diagnostics.get("route") is not None:
        yield "gradients", str(diagnostics["route"])
    if diagnostics.get("leverage"):
        yield "leverage of rows", _describe_leverage(str(diagnostics["leverage"]))
    if diagnostics["worst_residual"] is not None:
        yield (
            "largest residual",
            f"{diagnostics['worst_residual']:.1e}{format_unconverged(diagnostics)}",
        )
    if diagnostics["full_residual"] is not None:
        largest = f"{diagnostics['worst_full_residual']:.2g}"
        yield (
            "residual on all rows",
            f"median {diagnostics['full_residual']:.2g}, largest {largest}",
        )
    if diagnostics["cosine"] is not None:
        yield "cosine with gradient", f"{diagnostics['cosine']:.2f} (1 = curvature changed nothing)"
    if diagnostics["correlation"] is not None:
        resemblance = (
            f"{diagnostics['resembling']} of {diagnostics['answered']} queries resemble it"
        )
        yield "gradient product", f"correlation {diagnostics['correlation']:.2f}; {resemblance}"
    if diagnostics["agreement"] is not None:
        yield (
            "agreement of models",
            f"{diagnostics['agreement']:.2f} (rank correlation of their scores)",
        )
    if diagnostics["rounding"] is not None:
        yield "coarser scores", f"rank correlation {diagnostics['rounding']:.4f} at least with full"
    if diagnostics["held"] is not None:
        mean, least = f"{diagnostics['held']:.0%}", f"{diagnostics['least_held']:.0%}"
        share = f"{mean} of the size of all effects, {least} at least"
        yield "candidates hold", f"{share} (estimated from random rows)"


def _describe_leverage(recorded: str) -> str:
    """How an effect counts what a training row has of the curvature."""
    if recorded == "on":
        return "on: effects of one Newton step after the removal"
    remedy = ' ([curvature] leverage = "auto")' if recorded == "off: not asked for" else ""
    return f"{recorded}{remedy}. Effects are to first order, too small for rows of much leverage"


def warn_diagnostics(
    diagnostics: Row, quarantined: list[Row], nonfinite_ids: list[str]
) -> Iterator[str]:
    """What must not be overlooked: queries and training rows without scores, empty curvature."""
    reasons = dict.fromkeys(str(row["reason"]) for row in quarantined)
    for reason in reasons:
        names = [str(row["id"]) for row in quarantined if row["reason"] == reason]
        count = _format_count(names, "query", "queries")
        yield f"{count} without scores: {join_some(names, SHOWN)}. {reason}"
    if nonfinite_ids:
        names = _format_count(nonfinite_ids, "training row", "training rows")
        yield f"{names} whose loss is not finite: {join_some(nonfinite_ids, SHOWN)}."
    dropped = parse_count(diagnostics["dropped"])
    if dropped:
        yield f"{dropped} scores left out: the training row's gradient is not finite."
    least_eigenvalue = diagnostics.get("least")
    if least_eigenvalue is not None and float(str(least_eigenvalue)) <= 0:
        yield (
            f"The curvature was not shown to be positive definite: with damping "
            f"{diagnostics['damping']:g} its least eigenvalue is "
            f"{float(str(least_eigenvalue)):.2g} at least. Raise "
            "the damping."
        )
    resembling = parse_count(diagnostics["resembling"])
    if resembling and 2 * resembling > parse_count(diagnostics["answered"]):
        yield "Most scores are plain gradient products: the damping drowns the curvature."


def _format_count(names: list[str], singular: str, plural: str) -> str:
    return f"{len(names)} {singular if len(names) == 1 else plural}"


def format_loss(loss: object) -> str:
    """A loss for the eye.

    >>> format_loss(2.345), format_loss(None)
    ('2.35', 'not finite')
    """
    return "not finite" if loss is None else f"{float(str(loss)):.2f}"


def parse_count(value: object) -> int:
    """A count of the store; 0 where it is null."""
    return int(str(value)) if value is not None else 0
