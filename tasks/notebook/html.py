"""Display of a result in a notebook, as HTML with all texts escaped."""

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from tasks.notebook.plain import clean_text
from tasks.results.evidence import Row
from tasks.results.explained_query import RANKING_LEGEND, format_ranking_score
from tasks.results.palette import HARMFUL, HELPFUL
from tasks.results.query_measure import format_measure, format_prediction, name_harmed_queries
from tasks.results.summary import ExplainedQuery, Summary

CELL = "text-align:left;vertical-align:top;white-space:normal"
EFFECT = re.compile(r"[+-]\d+\.\d{4}")
"""Form of an effect, with its sign."""
MAX_TEXT = 300
"""Number of characters of a text that are displayed."""


def render_html(
    summary: Summary, warnings: Sequence[str], inferred: Sequence[tuple[str, str, str]]
) -> str:
    """Render a summary: numbers, warnings, the worst queries and the most harmful examples."""
    facts = summary.facts
    numbers = [
        ("accuracy", summary.accuracy),
        ("explained", summary.measures),
        ("training rows", f"{facts['train_rows']:,}"),
        ("time", f"{facts['seconds']:.0f} s"),
        ("results", str(summary.store)),
    ]
    evidence = [("parameters", f"{facts['parameters']:,} attributed"), *summary.evidence]
    harmed = name_harmed_queries(summary.has_accuracy)
    head = ("summed effect", "queries", "id", "label", "text")
    sections = [
        f"<h4>Influence audit, run {_escape(summary.run)}</h4>",
        _render_warnings(warnings),
        _render_table(("", ""), numbers),
        _fold("Inferred from model and tables", ("key", "value", "reason"), inferred),
        _fold("Method and diagnostics", ("", ""), evidence),
        "<h4>Worst queries</h4>",
        *map(_render_query, summary.worst),
        f"<h4>Training examples most harmful to {harmed}</h4>",
        _render_table(head, _list_harmful(summary.most_harmful)),
        "<p>Below 0 the example harms the query. Further: "
        "<code>result.top(query_id)</code>, <code>result.show(train_id)</code>, "
        "<code>result.harmful(k)</code>, <code>result.scores</code>, "
        "<code>result.report(path)</code>.</p>",
    ]
    return f"<div>{''.join(filter(None, sections))}</div>"


def _render_query(explained: ExplainedQuery) -> str:
    query = explained.query
    head = f"{query['id']}: {''.join(format_prediction(query))}, {format_measure(query)}"
    body = f"<p>{_escape_example(query, '')}</p>"
    if query["reason"]:
        body += f"<p><b>{_escape(query['reason'])}</b></p>"
    else:
        rows = [*explained.harmful, *reversed(explained.helpful)]
        has_scores = explained.has_ranking_scores
        names = ("effect", *(["score"] if has_scores else []), "id", "label", "text")
        body += _render_table(names, (_list_effect(row, has_scores) for row in rows))
        body += f"<p>{_escape(RANKING_LEGEND)}</p>" if has_scores else ""
    return f"<details open><summary><b>{_escape(head)}</b></summary>{body}</details>"


def _list_effect(row: Row, has_scores: bool) -> tuple[str, ...]:
    effect, text = f"{row['removal_effect']:+.4f}", _join_texts(row, "train_")
    score = (format_ranking_score(row).removeprefix("score "),) if has_scores else ()
    return effect, *score, f"{row['train_id']}", f"{row['train_label']}", text


def _list_harmful(rows: Iterable[Row]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        yield (
            f"{row['harmful_effect']:+.4f}",
            f"{row['harmful_queries']}",
            f"{row['train_id']}",
            f"{row['train_label']}",
            _join_texts(row, "train_"),
        )


def _render_warnings(warnings: Sequence[str]) -> str:
    items = "".join(f"<li>{_escape(warning)}</li>" for warning in warnings)
    return f"<p><b>Warnings</b></p><ul>{items}</ul>" if items else ""


def _fold(title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Render a table that is opened by a click; nothing without rows."""
    table = _render_table(names, rows)
    return f"<details><summary>{title}</summary>{table}</details>" if rows else ""


def _render_table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th style="{CELL}">{_escape(name)}</th>' for name in names)
    body = "".join("<tr>" + "".join(map(_render_cell, row)) + "</tr>" for row in rows)
    return f"<table>{f'<tr>{head}</tr>' if any(names) else ''}{body}</table>"


def _render_cell(text: str) -> str:
    """Render a cell; effects are coloured by their sign."""
    sign = text[:1] if EFFECT.fullmatch(text) else ""
    colour = {"-": f";color:{HARMFUL.light}", "+": f";color:{HELPFUL.light}"}.get(sign, "")
    return f'<td style="{CELL}{colour}">{_escape(text)}</td>'


def _join_texts(row: Row, prefix: str) -> str:
    pair = row[f"{prefix}text_pair"]
    text = f"{row[f'{prefix}text']}"
    return text if pair is None else f"{text} → {pair}"


def _escape_example(row: Row, prefix: str) -> str:
    return _escape(_join_texts(row, prefix))


def _escape(text: object) -> str:
    """Return a text for a page: without control characters, shortened, escaped."""
    clean = clean_text(f"{text}")
    return escape(clean if len(clean) <= MAX_TEXT else f"{clean[:MAX_TEXT]} ...")
