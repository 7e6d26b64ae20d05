"""Explanations of single predictions for a Python session: a display, and data frames."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, overload

import polars as pl

from tasks.notebook.plain import clean_text
from tasks.results.palette import HARMFUL, HELPFUL
from tasks.service.explanation import EffectRow, Explanation
from tasks.service.trust import Trust

CELL = "text-align:left;vertical-align:top;white-space:normal"
MAX_TEXT = 300
"""Number of characters of a text that are displayed."""
MAX_SHOWN = 20
"""Number of explanations that are displayed; all are in the data frame."""
KINDS = ("harmful", "helpful", "neighbour")
SCHEMA = {
    "query": pl.UInt32,
    "prediction": pl.String,
    "probability": pl.Float64,
    "measure": pl.String,
    "unit": pl.String,
    "kind": pl.Enum(KINDS),
    "rank": pl.UInt32,
    "train": pl.UInt32,
    "train_id": pl.String,
    "train_label": pl.String,
    "removal_effect": pl.Float64,
    "cosine": pl.Float64,
    "train_text": pl.String,
    "train_text_pair": pl.String,
}


@dataclass(frozen=True, eq=False, repr=False)
class Explanations(Sequence[Explanation]):
    """Explanations of one query or several, in their order.

    Attributes:
        items: Explanation of each query.
        trust: Measured accuracy of the effects.
    """

    items: Sequence[Explanation]
    trust: Trust

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, place: int) -> Explanation: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Explanation]: ...
    def __getitem__(self, place: int | slice) -> Explanation | Sequence[Explanation]:
        return self.items[place]

    def to_polars(self) -> pl.DataFrame:
        """Return one row for each training row of each query; effects are in the unit named."""
        return pl.DataFrame(list(self._list_rows()), schema=SCHEMA, orient="row")

    def __repr__(self) -> str:
        return "\n".join(_render_plain(item) for item in self.items[:MAX_SHOWN])

    def _repr_html_(self) -> str:
        parts = [_render_query(item) for item in self.items[:MAX_SHOWN]]
        rest = len(self.items) - len(parts)
        more = f"<p>{rest} more in <code>to_polars()</code>.</p>" if rest > 0 else ""
        return f"<div>{''.join(parts)}{more}{_render_trust(self.trust)}</div>"

    def _list_rows(self) -> Iterator[tuple[Any, ...]]:
        for query, item in enumerate(self.items):
            groups = zip(KINDS, (item.harmful, item.helpful, item.neighbours), strict=True)
            for kind, rows in groups:
                for rank, row in enumerate(rows):
                    yield (
                        *(query, item.prediction, item.probability, item.measure, item.unit),
                        *(kind, rank, row.position, row.id, row.label, row.effect, row.cosine),
                        *(row.text, row.text_pair),
                    )


def _render_plain(item: Explanation) -> str:
    """Render an explanation as text, without control characters."""
    lines = [_describe_prediction(item), *([item.reason] if item.reason else [])]
    for title, rows in (("helpful", item.helpful), ("harmful", item.harmful)):
        lines += [
            f"  {title} {row.effect:+.4f} {row.id} [{row.label}] {_shorten(_join(row))}"
            for row in rows
        ]
    return "\n".join(map(clean_text, lines))


def _describe_prediction(item: Explanation) -> str:
    share = "" if item.probability is None else f" with probability {item.probability:.3f}"
    given = "" if item.label is None else f", labelled {item.label}"
    value = "" if item.value is None else f"; {item.measure} {item.value:.4f} {item.unit}"
    return f"predicted {item.prediction or 'nothing'}{share}{given}{value}"


def _render_query(item: Explanation) -> str:
    text = item.text if item.text_pair is None else f"{item.text} → {item.text_pair}"
    head = f"<p><b>{_escape(_describe_prediction(item))}</b></p><p>{_escape(text)}</p>"
    if item.reason:
        return f"<section>{head}<p><b>{_escape(item.reason)}</b></p></section>"
    effect = f"effect, {item.unit}"
    rows = [*item.harmful, *reversed(item.helpful)]
    effects = _render_table((effect, "id", "label", "text"), [_list_effect(row) for row in rows])
    near = _render_table(
        ("cosine", "id", "label", "text"),
        [(f"{row.cosine:.3f}", *_list_names(row)) for row in item.neighbours],
    )
    note = f"<p>Above 0: {_escape(item.meaning)}.</p>"
    fold = f"<details><summary>Near neighbours</summary>{near}</details>" if near else ""
    return f"<section>{head}{effects}{note}{fold}</section>"


def _list_effect(row: EffectRow) -> tuple[str, ...]:
    return f"{row.effect:+.4f}", *_list_names(row)


def _list_names(row: EffectRow) -> tuple[str, ...]:
    return row.id, row.label, _join(row)


def _join(row: EffectRow) -> str:
    return row.text if row.text_pair is None else f"{row.text} → {row.text_pair}"


def _render_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Render a table with the sign of the first column as its colour; nothing without rows."""
    head = "".join(f'<th style="{CELL}">{_escape(name)}</th>' for name in names)
    body = "".join(f"<tr>{_render_cells(row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>" if rows else ""


def _render_cells(row: Sequence[str]) -> str:
    colours = {"-": f";color:{HARMFUL.light}", "+": f";color:{HELPFUL.light}"}
    first = f'<td style="{CELL}{colours.get(row[0][:1], "")}">{_escape(row[0])}</td>'
    return first + "".join(f'<td style="{CELL}">{_escape(cell)}</td>' for cell in row[1:])


def _render_trust(trust: Trust) -> str:
    facts = [
        f"Effects are inner products of gradient sketches of run {trust.run} "
        f"({trust.finished}), over {trust.train_rows:,} training rows.",
        *trust.describe(),
    ]
    return f"<details><summary>Trust</summary><p>{_escape(' '.join(facts))}</p></details>"


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} ..."


def _escape(text: str) -> str:
    """Return a text for a page: without control characters, shortened, escaped."""
    return escape(_shorten(clean_text(text)))
