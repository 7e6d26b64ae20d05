"""Page docs/results/fidelity.md: all workloads with their ceiling, and words shared by all."""

from benchmarks.page import ResultPage, bullets, format_goal, join_parts, table

NAMES = {
    "mnist-mlp": ("fidelity-mnist", "MNIST with a multilayer perceptron"),
    "noisy-news-minilm": ("fidelity-noisy-ag-news", "NoisyAG-News with MiniLM"),
    "sst2-minilm": ("fidelity-sst2", "SST-2 with MiniLM"),
    "titanic-mlp": ("fidelity-titanic", "Titanic with a multilayer perceptron"),
    "multinli-minilm": ("fidelity-multinli", "MultiNLI with MiniLM"),
}
"""File name of the page and words for its title, by workload."""

LDS = (
    "LDS (linear datamodeling score): Spearman's correlation of summed effects with the margins of "
    "models that were retrained on random halves; mean over the queries ± its standard error."
)
CEILING = (
    "Ceiling: the LDS of a predictor without noise, the square root of Spearman's correlation of "
    "the outcomes of two disjoint sets of seeds; with its 95 % interval over queries and halves. "
    "The LDS of a method is the mean of its LDS against both sets."
)
SHARE = "share of the ceiling"

SHARES = {"sst2-minilm": 0.95, "noisy-news-minilm": 0.95}
"""Least share of the ceiling that the chosen estimator shall reach, by workload."""

LEAST = {"sst2-minilm": 0.86, "noisy-news-minilm": 0.86, "mnist-mlp": 0.66}
"""Least LDS that the chosen estimator shall reach, by workload."""

TOLERANCE = 0.01
"""LDS by which the chosen estimator may be below the best fixed choice."""


def overview_page(workloads: dict[str, dict]) -> ResultPage:
    """Return the page with one line for each workload."""
    rows = [_row(name, workloads[name]) for name in NAMES if name in workloads]
    head = [
        "workload", "chosen by the product", "best fixed choice", "exact at the end",
        "gradient cosine at the end", "best other package", "ceiling",
    ]  # fmt: skip
    return ResultPage(
        name="fidelity",
        title="Agreement with retraining: all workloads",
        question="How close does the agreement with retraining come to its ceiling?",
        answer=_answer(workloads),
        headline=f"{len(rows)} workloads; {_headline(workloads)}",
        tables=(table(head, rows), _goals(workloads)),
        measured=bullets(
            "Command: `python -m benchmarks.fidelity`.",
            "Hardware and date: on the page of each workload.",
            LDS,
            CEILING,
            "Your own effects are scored on the outcomes in `benchmarks/truth` by `python -m "
            "benchmarks.fidelity score FILE --workload NAME`.",
        ),
    )


def best_method(known: dict) -> str:
    """Return the name of the method with the highest LDS."""
    return max(known["methods"], key=lambda name: known["methods"][name]["lds"])


def best_peer(known: dict) -> str | None:
    """Return the name of the other package with the highest LDS; None if none has a score."""
    scored = {name: peer["lds"] for name, peer in known.get("peers", {}).items() if "lds" in peer}
    return max(scored, key=scored.__getitem__) if scored else None


def format_share(known: dict, lds: float) -> str:
    """Return an LDS as a share of the ceiling; empty without a ceiling."""
    ceiling = known["ceiling"]
    return f"{lds / ceiling['value']:.1%}".replace("%", " %") if ceiling else ""


def format_ceiling(known: dict) -> str:
    """Return the sentence on the ceiling of a workload."""
    ceiling = known["ceiling"]
    if not ceiling:
        return "Ceiling: not measured; it needs a second set of seeds."
    return (
        f"Ceiling: {ceiling['value']:.3f} ({ceiling['low']:.3f} to {ceiling['high']:.3f}), the LDS "
        "of a predictor without noise, from the agreement of two disjoint sets of seeds "
        f"({ceiling['agreement']:.3f})."
    )


def _goals(workloads: dict[str, dict]) -> str:
    """Return the goals of the chosen estimator, and whether they are reached."""
    goals = []
    for name, (_, words) in NAMES.items():
        known = workloads.get(name)
        if known is None:
            goals.append(f"{words}: not measured")
            continue
        best = known["methods"][best_method(known)]["lds"]
        bounds = {"best fixed choice - 0.01": best - TOLERANCE}
        if name in SHARES and known["ceiling"]:
            bounds[f"{SHARES[name]:.0%} of the ceiling"] = SHARES[name] * known["ceiling"]["value"]
        if name in LEAST:
            bounds["least LDS"] = LEAST[name]
        goals += [f"{words}, {_format_bound(known, least, w)}" for w, least in bounds.items()]
    return join_parts("Goals of the chosen estimator:", bullets(*goals))


def _format_bound(known: dict, least: float, words: str) -> str:
    chosen = known.get("chosen")
    reached = format_goal(chosen["lds"] >= least) if chosen else "not measured"
    return f"{words}: at least {least:.3f}, {reached}".replace("%", " %")


def _row(name: str, known: dict) -> list[str]:
    file, words = NAMES[name]
    best, peer, chosen = best_method(known), best_peer(known), known.get("chosen")
    ceiling, methods = known["ceiling"], known["methods"]
    return [
        f"[{words}]({file}.md)",
        f"{chosen['name']}: {chosen['lds']:.3f}" if chosen else "not measured",
        f"{best}: {methods[best]['lds']:.3f}",
        f"{methods['exact']['lds']:.3f}",
        f"{methods['gradient cosine']['lds']:.3f}",
        f"{peer}: {known['peers'][peer]['lds']:.3f}" if peer else "not measured",
        f"{ceiling['value']:.3f} ({ceiling['low']:.3f} to {ceiling['high']:.3f})"
        if ceiling
        else "not measured",
    ]


def _answer(workloads: dict[str, dict]) -> str:
    reached = []
    for name, known in workloads.items():
        if known["ceiling"]:
            chosen = known.get("chosen")
            lds = (chosen or known["methods"][best_method(known)])["lds"]
            share = f"{lds / known['ceiling']['value']:.0%}".replace("%", " %")
            which = "chosen" if chosen else "best fixed choice"
            reached.append(f"{share} on {NAMES[name][1]} ({which})")
    if not reached:
        return f"The ceiling of none of the {len(workloads)} workloads was measured yet."
    return f"Share of the ceiling: {', '.join(reached)}."


def _headline(workloads: dict[str, dict]) -> str:
    best = [known["methods"][best_method(known)]["lds"] for known in workloads.values()]
    return f"best LDS {min(best):.3f} to {max(best):.3f}"
