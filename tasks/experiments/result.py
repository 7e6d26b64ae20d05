"""Result of an experiment compared with the published claims, as JSON and Markdown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

Cell = str | float | int | None
RESULT, PAGE = "result.json", "result.md"


@dataclass(frozen=True)
class Claim:
    """One published claim and its outcome.

    Attributes:
        says: The claim, one sentence.
        published: Published number; "none" if there is none.
        ours: Number measured here.
        holds: Whether the claim is reproduced; None if it cannot be decided.
    """

    says: str
    published: str
    ours: str
    holds: bool | None


@dataclass(frozen=True)
class ExperimentResult:
    """Result of an experiment.

    Attributes:
        claims: Published claims with their outcome.
        tables: Table rows by title.
        plots: Plots as SVG by name.
        notes: Settings and remarks, one paragraph each.
    """

    claims: Sequence[Claim]
    tables: Mapping[str, Sequence[Mapping[str, Cell]]] = field(default_factory=dict)
    plots: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def write_result(folder: Path, head: Mapping[str, object], result: ExperimentResult) -> None:
    """Write result.json, result.md and the plots.

    Args:
        folder: Existing folder.
        head: Title, source, substitutes, scale, machine and seconds.
        result: Result of the experiment.
    """
    for name, svg in result.plots.items():
        (folder / f"{name}.svg").write_text(svg, "utf-8")
    record = {**head, **asdict(result), "plots": list(result.plots)}
    (folder / RESULT).write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    (folder / PAGE).write_text(render_result_markdown(record, ""), "utf-8")


def render_result_markdown(record: Mapping, image_prefix: str) -> str:
    """Return a result as one Markdown text.

    Args:
        record: Content of result.json.
        image_prefix: Path before the file names of the plots.
    """
    parts = [
        f"### {record['title']}",
        describe_run(record),
        *render_tables(record),
        *record["notes"],
        *render_plots(record, image_prefix),
    ]
    return "\n\n".join(parts) + "\n"


def describe_run(record: Mapping) -> str:
    """Return command, scale, source, substitutes, machine and seconds of a result."""
    remarks = (
        f"`fastif reproduce {record['name']}`, {record['scale']}.",
        record["source"],
        record["stands_in"],
        f"{record['machine']}; {record['seconds']:,.0f} s, its longest run.",
    )
    return " ".join(filter(None, remarks))


def render_tables(record: Mapping) -> list[str]:
    """Return the claims and the tables of a result as Markdown, each table below its title."""
    lines = ["| claim | published | here | |", "| --- | ---: | ---: | --- |"]
    words = {True: "reproduced", False: "**not reproduced**", None: ""}
    for claim in record["claims"]:
        cells = (claim["says"], claim["published"], claim["ours"], words[claim["holds"]])
        lines.append(f"| {' | '.join(cells)} |")
    parts = ["\n".join(lines)]
    for title, rows in record["tables"].items():
        parts += [f"{title}:", "\n".join(_render_table(rows))]
    return parts


def render_plots(record: Mapping, image_prefix: str) -> list[str]:
    """Return the plots of a result as Markdown images."""
    return [f"![{name}]({image_prefix}{name}.svg)" for name in record["plots"]]


def _render_table(rows: Sequence[Mapping[str, Cell]]) -> list[str]:
    names = list(rows[0])
    alignments = (
        " ---: |" if isinstance(rows[0][name], int | float) else " --- |" for name in names
    )
    lines = [f"| {' | '.join(names)} |", "|" + "".join(alignments)]
    return lines + [f"| {' | '.join(_format_cell(row[name]) for name in names)} |" for row in rows]


def _format_cell(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else value
