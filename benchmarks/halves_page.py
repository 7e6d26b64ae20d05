"""Tables of the agreement of effects with retraining on halves."""

import math
from collections.abc import Sequence

from benchmarks.page import table

INFLUENCE = "influence, damping "
HEAD = (
    "model, attributed parameters",
    "parameters",
    "accuracy",
    "influence",
    "λ",
    "gradient product",
    "gradient cosine",
    "two seeds",
    "seconds of all effects / of retraining",
)
CAPTION = (
    "LDS: rank correlation over random halves of the summed effect of the kept rows with the loss "
    "after retraining on them, mean over the queries; in brackets, where measured, 95 % intervals "
    "of a bootstrap over halves and queries. (edge): the chosen λ is the least or the largest that "
    "was tried. Two seeds: the same correlation between retrainings with two seeds."
)


def make_tables(models: dict[str, dict]) -> list[str]:
    """Return the table of the methods, its caption, and the table of the differences."""
    rows = [_make_row(name, entry) for name, entry in models.items()]
    gains = [
        (name, *(_describe_gain(method) for method in entry["methods"][1:3]))
        for name, entry in models.items()
        if "methods" in entry
    ]
    if not gains:
        return [table(HEAD, rows), CAPTION]
    head = ("influence minus the method, 95 % interval", "gradient product", "gradient cosine")
    return [table(HEAD, rows), CAPTION, table(head, gains)]


def _make_row(name: str, entry: dict) -> tuple[str, ...]:
    influence, product, cosine = list_methods(entry)[:3]
    damping = influence["name"].removeprefix(INFLUENCE)
    edge = " (edge)" if damping in _list_edges(entry) else ""
    return (
        name,
        f"{entry['parameters']:,}",
        f"{entry['accuracy']:.0%}",
        _describe_score(influence),
        f"{damping}{edge}",
        _describe_score(product),
        _describe_score(cosine),
        f"{entry['seeds']:.2f}",
        f"{entry['seconds']:.0f} / {entry['retrain_seconds']:.0f}",
    )


def list_methods(entry: dict) -> list[dict]:
    """Return influence at the chosen damping and the others; older results lack intervals."""
    if "methods" in entry:
        return entry["methods"]
    choice = {name: lds for name, lds in entry["choice"].items() if name.startswith(INFLUENCE)}
    best = max(choice, key=lambda name: choice[name])
    names = (best, "gradient product", "gradient cosine")
    return [{"name": name, "lds": entry["lds"][name]} for name in names]


def make_damping_grid(models: dict[str, dict]) -> str:
    """Return the LDS of influence at every damping."""
    entries = list(models.values())
    names = [name for name in entries[0]["lds"] if name.startswith(INFLUENCE)]
    rows = [
        (name.removeprefix(INFLUENCE), *(f"{e['lds'][name]:.2f}" for e in entries))
        for name in names
    ]
    return table(("λ", *models), rows)


def describe_span(scores: Sequence[float]) -> str:
    """Return the least and the largest score in words."""
    low, high = f"{min(scores):.2f}", f"{max(scores):.2f}"
    return low if low == high else f"{low} to {high}"


def summarize_gains(models: dict[str, dict]) -> str:
    """Return the span of the scores of each method, and how often influence is surely ahead."""
    methods = zip(*(list_methods(entry)[:3] for entry in models.values()), strict=True)
    influence, product, cosine = (describe_span([m["lds"] for m in scores]) for scores in methods)
    scores = (
        f"The LDS of influence is {influence}, of the gradient product {product}, of the gradient "
        f"cosine {cosine}."
    )
    compared = [entry["methods"] for entry in models.values() if "methods" in entry]
    if not compared:
        return f"{scores} Intervals were not measured."
    ahead = [sum(m[place]["behind_low"] > 0 for m in compared) for place in (1, 2)]
    behind = [sum(m[place]["behind_high"] < 0 for m in compared) for place in (1, 2)]
    return (
        f"{scores} The 95 % interval of influence's lead is above 0 in {ahead[0]} of "
        f"{len(compared)} cases against the product and in {ahead[1]} against the cosine, and "
        f"below 0 in {behind[0]} and {behind[1]}."
    )


def make_method_table(entry: dict) -> str:
    """Return the table of all methods of one model."""
    rows = [
        (
            method["name"].replace("damping ", "λ = "),
            f"{method['lds']:.2f}",
            f"{method['low']:.2f} to {method['high']:.2f}",
            _describe_gain(method) if number else "",
        )
        for number, method in enumerate(entry["methods"])
    ]
    return table(("method", "LDS", "95 % interval", "influence minus it, 95 % interval"), rows)


def describe_ceiling(entry: dict) -> str:
    """Return the sentence on what a predictor without noise would reach.

    Two retrainings correlate by r, so a mean of two has the reliability 2r / (1 + r) by the
    Spearman-Brown formula, of which the root is the ceiling.
    """
    agreement = max(0.0, entry["seeds"])
    ceiling = math.sqrt(2 * agreement / (1 + agreement))
    return (
        f"Losses of retrainings with two seeds correlate by {agreement:.2f}, so that a predictor "
        f"without noise would reach {ceiling:.2f}."
    )


def _list_edges(entry: dict) -> set[str]:
    """Return the least and the largest damping of the grid."""
    grid = [name.removeprefix(INFLUENCE) for name in entry["lds"] if name.startswith(INFLUENCE)]
    return {min(grid, key=float), max(grid, key=float)}


def _describe_score(method: dict) -> str:
    interval = f" ({method['low']:.2f} to {method['high']:.2f})" if "low" in method else ""
    return f"{method['lds']:.2f}{interval}"


def _describe_gain(method: dict) -> str:
    return f"{method['behind_low']:+.2f} to {method['behind_high']:+.2f}"
