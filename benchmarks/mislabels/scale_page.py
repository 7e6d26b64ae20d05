"""Page docs/results/label-error-scale.md, written from the kept result."""

from benchmarks.page import ResultPage, bullets, describe_machine, format_goal, table

MAX_GB, MAX_FACTOR = 6.0, 1.5
"""Goals: peak memory, and factor between forecast and actual time or memory."""
NOTES = (
    "Rows are vectors of 384 random numbers around the mean of their class, in a Parquet file with "
    "a list in each row; 10 % of the labels are replaced by another class. The vectors have no "
    "structure within a class, so nearest neighbours carry little, and an approximate search finds "
    "fewer of them than on embeddings of a model.",
    "Each table is detected by `fastif mislabels` in a separate process; time is its wall time "
    "with reading, ranking and writing, memory the peak resident memory of the process. The "
    "forecast is that of `--dry-run`, before it.",
    "The file of the table was written just before, so it may be in the page cache.",
    "The detection of a million rows shared its two cores with tests for about half of its time; "
    "its forecast was repeated afterwards, on idle cores. The others had the cores to themselves.",
)


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on time and memory of a detection."""
    sizes = list(result["sizes"].values())
    largest = max(sizes, key=lambda entry: entry["rows"])
    page = ResultPage(
        name="label-error-scale",
        title="Detection of a million rows",
        question="How do time and memory of a mislabel detection grow with the number of rows?",
        answer=_answer(sizes, largest),
        headline=f"{largest['rows']:,} rows: {largest['seconds'] / 60:.0f} minutes, "
        f"{largest['peak_gb']:.1f} GB",
        tables=[_size_table(sizes), _list_goals(sizes, largest)],
        measured=bullets(
            "Command: `python -m benchmarks.mislabels.scale`.",
            f"Hardware, {describe_machine(result)}.",
            *NOTES,
        ),
    )
    return [page]


def _answer(sizes: list[dict], largest: dict) -> str:
    smallest = min(sizes, key=lambda entry: entry["rows"])
    return (
        f"{largest['rows']:,} rows of 384 numbers and {largest['classes']} classes take "
        f"{largest['seconds'] / 60:.0f} minutes and {largest['peak_gb']:.1f} GB, of which the "
        f"table itself is {largest['table_gb']:.1f} GB: {1e3 * _seconds_per_row(largest):.2f} ms a "
        f"row, against {1e3 * _seconds_per_row(smallest):.2f} ms with {smallest['rows']:,} rows."
    )


def _seconds_per_row(entry: dict) -> float:
    return entry["seconds"] / entry["rows"]


def _size_table(sizes: list[dict]) -> str:
    head = ["rows", "classes", "seconds", "forecast", "ms a row", "peak GB", "forecast GB", "AP"]
    rows = [
        [
            f"{entry['rows']:,}",
            f"{entry['classes']}",
            f"{entry['seconds']:,.0f}",
            f"{entry['forecast_seconds']:,.0f}",
            f"{1e3 * _seconds_per_row(entry):.2f}",
            f"{entry['peak_gb']:.2f}",
            f"{entry['forecast_gb']:.1f}",
            f"{entry['average_precision']:.3f}",
        ]
        for entry in sizes
    ]
    return table(head, rows)


def _list_goals(sizes: list[dict], largest: dict) -> str:
    lines = [
        f"peak memory of {largest['rows']:,} rows at most {MAX_GB:.0f} GB: "
        f"{largest['peak_gb']:.2f} GB ({format_goal(largest['peak_gb'] <= MAX_GB)})"
    ]
    for name, unit in (("seconds", "time"), ("gb", "memory")):
        actual = "seconds" if name == "seconds" else "peak_gb"
        factors = [
            max(
                entry[f"forecast_{name}"] / entry[actual], entry[actual] / entry[f"forecast_{name}"]
            )
            for entry in sizes
        ]
        worst = max(factors)
        lines.append(
            f"forecast of the {unit} right within a factor of {MAX_FACTOR}: "
            f"{', '.join(f'{factor:.2f}' for factor in factors)} "
            f"({format_goal(worst <= MAX_FACTOR)})"
        )
    return bullets(*lines)
