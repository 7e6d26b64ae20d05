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
class Outcome:
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


def write_outcome(folder: Path, head: Mapping[str, object], found: Outcome) -> None:
    """Write result.json, result.md and the plots.

    Args:
        folder: that is there.
        head: title, source, what stands in, scale, machine, seconds.
        found: by the experiment.
    """
    for name, drawn in found.plots.items():
        (folder / f"{name}.svg").write_text(drawn, "utf-8")
    told = {**head, **asdict(found), "plots": list(found.plots)}
    (folder / RESULT).write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    (folder / PAGE).write_text(markdown(told, ""), "utf-8")


def markdown(told: Mapping, images: str) -> str:
    """A result as Markdown.

    Args:
        told: what result.json holds.
        images: before the names of the plots.
    """
    told_of = (
        told["source"],
        told["stands_in"],
        f"{told['machine']}; {told['seconds']:,.0f} s, its longest start.",
    )
    head = f"`fastif reproduce {told['name']}`, {told['scale']}."
    lines = [f"### {told['title']}", "", " ".join([head, *filter(None, told_of)]), ""]
    lines += ["| the source says | published | here | |", "| --- | ---: | ---: | --- |"]
    words = {True: "reproduced", False: "**not reproduced**", None: ""}
    for claim in told["claims"]:
        cells = (claim["says"], claim["published"], claim["ours"], words[claim["holds"]])
        lines.append(f"| {' | '.join(cells)} |")
    for title, rows in told["tables"].items():
        lines += ["", f"{title}:", "", *_table(rows)]
    lines += [line for note in told["notes"] for line in ("", note)]
    for name in told["plots"]:
        lines += ["", f"![{name}]({images}{name}.svg)"]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Mapping[str, Cell]]) -> list[str]:
    names = list(rows[0])
    right = (" ---: |" if isinstance(rows[0][name], int | float) else " --- |" for name in names)
    lines = [f"| {' | '.join(names)} |", "|" + "".join(right)]
    return lines + [f"| {' | '.join(_cell(row[name]) for name in names)} |" for row in rows]


def _cell(value: Cell) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else value
