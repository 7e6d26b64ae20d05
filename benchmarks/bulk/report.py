"""The section of docs/results.md on the bulk tiers, written from its JSON."""

from pathlib import Path

from benchmarks.bulk.plot import svg

PLOTS = "images"
SHOWN = (0.01, 0.05, 0.1)
"""Candidates as a part of the training rows, in the table; the plot has all."""
NOTES = (
    "Spearman's and Pearson's correlation with the exact effects over all rows: mean over the"
    " queries. Bytes: a training row's sketch in half precision. A query: all rows scored by"
    " sketches, all queries together. A row: its gradient and its sketch. Last-layer influence: the"
    " same curvature and λ, but only the classifier's own parameters are attributed."
)


def write_plots(folder: Path, result: dict) -> None:
    """The recall curves of every corpus, beside the page."""
    folder.mkdir(exist_ok=True)
    for name, known in result.get("retrieval", {}).items():
        (folder / f"{_stem(name)}.svg").write_text(plot(known), "utf-8")


def section(result: dict) -> str:
    """The section as Markdown."""
    parts = [
        "## Retrieval: which rows are worth scoring?",
        "`python -m benchmarks.bulk retrieval`. R@m: the share of the m training rows with the"
        " largest exact effects on a query, by size, that are among its k candidates; mean over the"
        " queries with its standard error. Exact is a full scan after an exact solve. A method with"
        " a sign takes half of its candidates at either end of its scores, nearest neighbours and"
        " the gradient norm take the highest. MiniLM with layer 5, pooler and classifier trained (3"
        " epochs) and attributed.",
    ]
    for name, known in result["retrieval"].items():
        parts += [_head(known), _table(known), _goal(known), _picture(name, known)]
    parts.append(NOTES)
    return "\n\n".join(parts) + "\n"


def plot(known: dict) -> str:
    """The recall curves of one corpus."""
    panels = {
        f"R@{at}": {
            name: [point["mean"] for point in method["recall"][at]]
            for name, method in known["methods"].items()
        }
        for at in known["goal"]["asked"]
    }
    return svg(known["title"], known["shares"], panels)


def _head(known: dict) -> str:
    flipped = f", {known['flipped']:.0%} of their labels wrong" if known["flipped"] else ""
    of = known["curvature_rows"]
    rows = "all" if of == known["rows"] else f"{of:,} random"
    return (
        f"### {known['title']}\n\n{known['rows']:,} training rows{flipped}, {known['labels']} "
        f"classes, {known['queries']} queries ({known['query_accuracy']:.0%} right), "
        f"{known['parameters']:,} attributed parameters. Gauss-Newton curvature of {rows} training"
        f" rows, λ = {known['damping']['chosen']:.2g} ({known['damping']['rule']}); largest"
        f" residual of the exact solve {known['largest_residual']:.1g}. {_host(known['machine'])}."
    )


def _host(machine: dict) -> str:
    return (
        f"{machine['date']}: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['threads']} threads, torch {machine['versions']['torch']}"
    )


def _table(known: dict) -> str:
    spots = [(at, share) for at in known["goal"]["asked"] for share in SHOWN]
    head = ["candidates by", *(f"R@{at}, k = {100 * share:g} %" for at, share in spots)]
    head += ["Spearman", "Pearson", "bytes a row", "a query", "a row"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for name, method in known["methods"].items():
        cells = [_point(method["recall"][at], known["shares"].index(share)) for at, share in spots]
        rows.append([name, *cells, *_agreement(method), *_cost(method)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _goal(known: dict) -> str:
    goal, lines = known["goal"], []
    for at, required in goal["asked"].items():
        outcome = "reached" if goal["reached"][at] else "**not reached**"
        lines.append(f"R@{at} ≥ {required:.2f}: {goal['found'][at]:.3f}, {outcome}")
    return (
        f"The goal at k = {goal['share']:.0%} of the rows with at most {goal['most_bytes']:,} bytes"
        f" a row: {'; '.join(lines)} (by {goal['best']})."
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


def _stem(name: str) -> str:
    return f"bulk-retrieval-{name}"
