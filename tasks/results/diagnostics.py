"""How far to trust a run: its certificates as a whole, in words."""

from collections.abc import Iterator

import polars as pl

from tasks.study.errors import listed

SHOWN = 5
LEAKED = 0.01
"""Share of the queries that are training rows from which their accuracy is not to be trusted."""
Row = dict[str, object]


def read_trust(solves: pl.LazyFrame) -> Row:
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


def unconverged(trust: Row) -> str:
    """A remark on queries that did not converge; empty if all did."""
    count = trust["unconverged"]
    return f"  [{count} queries did not converge]" if count else ""


def evidence(trust: Row) -> Iterator[tuple[str, str]]:
    """What the certificates say of the run as a whole, name by name; what is not known is left out.

    >>> known = {"solver": "dual", "damping": 0.1, "models": 1, "answered": 9, "unconverged": 0}
    >>> known |= {"worst_residual": 2e-6, "full_residual": None, "agreement": None, "held": None}
    >>> known |= {"rounding": None}
    >>> list(evidence(known | {"cosine": None, "correlation": None}))
    [('solver', 'dual, damping 0.1'), ('largest residual', '2.0e-06')]
    """
    least = trust.get("least")
    several = number_of(trust["models"]) > 1
    mean = f", mean of {trust['models']} models" if several else ""
    yield "solver", f"{trust['solver']}, damping {trust['damping']:g}{mean}"
    if least is not None and float(str(least)) != trust["damping"]:
        yield "least eigenvalue", f"{float(str(least)):.2g} at least, damping and all"
    if trust.get("route") is not None:
        yield "gradients", str(trust["route"])
    if trust.get("leverage"):
        yield "leverage of rows", _leverage(str(trust["leverage"]))
    if trust["worst_residual"] is not None:
        yield "largest residual", f"{trust['worst_residual']:.1e}{unconverged(trust)}"
    if trust["full_residual"] is not None:
        largest = f"{trust['worst_full_residual']:.2g}"
        yield "residual on all rows", f"median {trust['full_residual']:.2g}, largest {largest}"
    if trust["cosine"] is not None:
        yield "cosine with gradient", f"{trust['cosine']:.2f} (1 = curvature changed nothing)"
    if trust["correlation"] is not None:
        alike = f"{trust['resembling']} of {trust['answered']} queries resemble it"
        yield "gradient product", f"correlation {trust['correlation']:.2f}; {alike}"
    if trust["agreement"] is not None:
        yield "agreement of models", f"{trust['agreement']:.2f} (rank correlation of their scores)"
    if trust["rounding"] is not None:
        yield "coarser scores", f"rank correlation {trust['rounding']:.4f} at least with full"
    if trust["held"] is not None:
        share = (
            f"{trust['held']:.0%} of the size of all effects, {trust['least_held']:.0%} at least"
        )
        yield "candidates hold", f"{share} (estimated from random rows)"


def _leverage(known: str) -> str:
    """How an effect counts what a training row has of the curvature."""
    if known == "on":
        return "on: effects of one Newton step after the removal"
    remedy = ' ([curvature] leverage = "auto")' if known == "off: not asked for" else ""
    return f"{known}{remedy}. Effects are to first order, too small for rows of much leverage"


def alarms(trust: Row, quarantined: list[Row], broken: list[str]) -> Iterator[str]:
    """What must not be overlooked: queries and training rows without scores, empty curvature."""
    reasons = dict.fromkeys(str(row["reason"]) for row in quarantined)
    for reason in reasons:
        names = [str(row["id"]) for row in quarantined if row["reason"] == reason]
        count = _count(names, "query", "queries")
        yield f"{count} without scores: {listed(names, SHOWN)}. {reason}"
    if broken:
        names = _count(broken, "training row", "training rows")
        yield f"{names} whose loss is not finite: {listed(broken, SHOWN)}."
    dropped = number_of(trust["dropped"])
    if dropped:
        yield f"{dropped} scores left out: the training row's gradient is not finite."
    least = trust.get("least")
    if least is not None and float(str(least)) <= 0:
        yield (
            f"The curvature was not shown to be positive definite: with damping "
            f"{trust['damping']:g} its least eigenvalue is {float(str(least)):.2g} at least. Raise "
            "the damping."
        )
    resembling = number_of(trust["resembling"])
    if resembling and 2 * resembling > number_of(trust["answered"]):
        yield "Most scores are plain gradient products: the damping drowns the curvature."


def _count(names: list[str], one: str, many: str) -> str:
    return f"{len(names)} {one if len(names) == 1 else many}"


def nats(loss: object) -> str:
    """A loss for the eye.

    >>> nats(2.345), nats(None)
    ('2.35', 'not finite')
    """
    return "not finite" if loss is None else f"{float(str(loss)):.2f}"


def number_of(value: object) -> int:
    """A count of the store; 0 where it is null."""
    return int(str(value)) if value is not None else 0
