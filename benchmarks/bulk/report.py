"""Page docs/results/retrieval.md and its plots, written from the kept result."""

from pathlib import Path

from benchmarks.bulk.plot import svg
from benchmarks.page import ResultPage, bullets, format_goal, join_parts, table

PLOTS = "../images"
WORDS = {"nothing narrowed": "no low-rank projection", "nearest (kNN)": "nearest neighbours (kNN)"}
"""Words in the names of methods, by those of the result, where they differ."""
SHOWN = (0.01, 0.05, 0.1)
"""Shares of the training rows that are candidates, in the table; the plot has more of them."""


def write_plots(folder: Path, result: dict) -> None:
    """Write the recall curves of each corpus as SVG."""
    folder.mkdir(exist_ok=True)
    for name, known in result.get("retrieval", {}).items():
        (folder / f"{_stem(name)}.svg").write_text(plot(known), "utf-8")


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on the recall of candidate methods."""
    corpora = result["retrieval"]
    parts = [
        part
        for name, known in corpora.items()
        for part in (f"## {known['title']}", _table(known), _goal(known), _picture(name, known))
    ]
    best_methods = [_describe_best(known) for known in corpora.values()]
    return [
        ResultPage(
            name="retrieval",
            title="Recall of candidate methods",
            question="Which training rows are worth scoring for a query?",
            answer=f"Those with the largest sketch scores: {'; '.join(best_methods)}.",
            headline=best_methods[0],
            tables=parts,
            measured=join_parts(_describe_method(), *map(_head, corpora.values())),
        )
    ]


def _describe_best(known: dict) -> str:
    goal = known["goal"]
    recalls = ", ".join(f"R@{at} {value:.3f}" for at, value in goal["found"].items())
    return (
        f"{_label(goal['best'])} at {goal['share']:.0%} of the rows: {recalls} ({known['title']})"
    )


def _describe_method() -> str:
    return bullets(
        "Command: `python -m benchmarks.bulk retrieval`.",
        "R@m: share of the m training rows with the largest absolute exact effects on a query that "
        "are among its k candidates; mean over the queries ± its standard error.",
        "Exact effects: a full scan after an exact solve.",
        "Signed scores give half of the candidates from the top and half from the bottom of their "
        "ranking. Nearest neighbours and the gradient norm give the top.",
        "Model: MiniLM with layer 5, pooler and classifier trained (3 epochs) and attributed.",
        "Spearman and Pearson: correlation with the exact effects over all rows, mean over the "
        "queries.",
        "Bytes a row: the sketch of a training row in half precision. A query: all rows scored by "
        "sketches, all queries together. A row: its gradient and its sketch.",
        "Last-layer influence: equal curvature and λ, but only the parameters of the classifier "
        "are attributed.",
    )


def plot(known: dict) -> str:
    """Return the recall curves of one corpus as SVG."""
    panels = {
        f"R@{at}": {
            _label(name): [point["mean"] for point in method["recall"][at]]
            for name, method in known["methods"].items()
        }
        for at in known["goal"]["asked"]
    }
    return svg(known["title"], known["shares"], panels)


def _head(known: dict) -> str:
    flipped = f", {known['flipped']:.0%} of their labels flipped" if known["flipped"] else ""
    of = known["curvature_rows"]
    rows = "all" if of == known["rows"] else f"{of:,} random"
    entries = bullets(
        f"{known['rows']:,} training rows{flipped}, {known['labels']} classes, {known['queries']} "
        f"queries ({known['query_accuracy']:.0%} predicted correctly), {known['parameters']:,} "
        "attributed parameters.",
        f"Gauss-Newton curvature of {rows} training rows, λ = {known['damping']['chosen']:.2g} "
        f"({known['damping']['rule']}); largest residual of the exact solve "
        f"{known['largest_residual']:.1g}.",
        f"Hardware, {_host(known['machine'])}.",
    )
    return f"{known['title']}:\n\n{entries}"


def _host(machine: dict) -> str:
    return (
        f"{machine['date']}: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['threads']} threads, torch {machine['versions']['torch']}"
    )


def _table(known: dict) -> str:
    spots = [(at, share) for at in known["goal"]["asked"] for share in SHOWN]
    head = ["candidates by", *(f"R@{at}, k = {100 * share:g} %" for at, share in spots)]
    head += ["Spearman", "Pearson", "bytes a row", "a query", "a row"]
    rows = []
    for name, method in known["methods"].items():
        cells = [_point(method["recall"][at], known["shares"].index(share)) for at, share in spots]
        rows.append([_label(name), *cells, *_agreement(method), *_cost(method)])
    return table(head, rows)


def _goal(known: dict) -> str:
    goal = known["goal"]
    lines = [
        f"R@{at} ≥ {required:.2f}: {goal['found'][at]:.3f}, {format_goal(goal['reached'][at])}"
        for at, required in goal["asked"].items()
    ]
    return (
        f"Goal at k = {goal['share']:.0%} of the rows with at most {goal['most_bytes']:,} bytes"
        f" a row: {'; '.join(lines)} (by {_label(goal['best'])})."
    ).replace("%", " %")


def _picture(name: str, known: dict) -> str:
    return f"![Recall curves: {known['title']}]({PLOTS}/{_stem(name)}.svg)"


def _point(points: list[dict], place: int) -> str:
    point = points[place]
    error = f" ± {point['error']:.3f}" if point["error"] else ""
    return f"{point['mean']:.3f}{error}"


def _agreement(method: dict) -> list[str]:
    return [
        f"{method[kind]['mean']:.3f}" if kind in method else "" for kind in ("spearman", "pearson")
    ]


def _cost(method: dict) -> list[str]:
    if "bytes_a_row" not in method:
        return ["", "", ""]
    return [
        f"{method['bytes_a_row']:,}",
        f"{method['score_milliseconds']:.2g} ms",
        f"{1000 * method['row_seconds']:.2g} ms",
    ]


def _label(name: str) -> str:
    """Return the name of a method in tables and plots."""
    for old, new in WORDS.items():
        name = name.replace(old, new)
    return name


def _stem(name: str) -> str:
    return f"bulk-retrieval-{name}"
