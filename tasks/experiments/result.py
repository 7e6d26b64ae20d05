"""What an experiment found, beside what its source says."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

Cell = str | float | int | None
RESULT, PAGE = "result.json", "result.md"


@dataclass(frozen=True)
class Claim:
    """One sentence of a source, and what came of it.

    Attributes:
        says: the sentence.
        published: its number; "none" where it gives none.
        ours: the number found here.
        holds: whether it reproduces; None where that is no question of yes or no.
    """

    says: str
    published: str
    ours: str
    holds: bool | None


@dataclass(frozen=True)
class ExperimentResult:
    """What an experiment found.

    Attributes:
        claims: of the source.
        tables: rows by title.
        plots: SVG by name.
        notes: what is to be known beside it.
    """

    claims: Sequence[Claim]
    tables: Mapping[str, Sequence[Mapping[str, Cell]]] = field(default_factory=dict)
    plots: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def write_result(folder: Path, head: Mapping[str, object], result: ExperimentResult) -> None:
    """Write result.json, result.md and the plots.

    Args:
        folder: that is there.
        head: title, source, what stands in, scale, machine, seconds.
        result: by the experiment.
    """
    for name, svg in result.plots.items():
        (folder / f"{name}.svg").write_text(svg, "utf-8")
    record = {**head, **asdict(result), "plots": list(result.plots)}
    (folder / RESULT).write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    (folder / PAGE).write_text(render_result_markdown(record, ""), "utf-8")


def render_result_markdown(record: Mapping, image_prefix: str) -> str:
    """A result as Markdown.

    Args:
        record: what result.json holds.
        image_prefix: before the names of the plots.
    """
    remarks = (
        record["source"],
        record["stands_in"],
        f"{record['machine']}; {record['seconds']:,.0f} s, its longest start.",
    )
    head = f"`fastif reproduce {record['name']}`, {record['scale']}."
    lines = [f"### {record['title']}", "", " ".join([head, *filter(None, remarks)]), ""]
    lines += ["| the source says | published | here | |", "| --- | ---: | ---: | --- |"]
    words = {True: "reproduced", False: "**not reproduced**", None: ""}
    for claim in record["claims"]:
        cells = (claim["says"], claim["published"], claim["ours"], words[claim["holds"]])
        lines.append(f"| {' | '.join(cells)} |")
    for title, rows in record["tables"].items():
        lines += ["", f"{title}:", "", *_render_table(rows)]
    lines += [line for note in record["notes"] for line in ("", note)]
    for name in record["plots"]:
        lines += ["", f"![{name}]({image_prefix}{name}.svg)"]
    return "\n".join(lines) + "\n"


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
