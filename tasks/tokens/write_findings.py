"""Files of the doubtful spans: the review, a page, and tasks for Label Studio."""

import html
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fastif.tokens import Span
from fastif.wrong_spans.span_doubts import SpanDoubt
from tasks.tokens.span_review import write_review
from tasks.tokens.span_studio import make_span_config, make_span_tasks
from tasks.tokens.tagged_table import TaggedTable

KINDS = {
    "missed": "missed",
    "spurious": "no span is there",
    "type": "another type",
    "boundary": "other words",
}
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.7 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
li { margin: 1rem 0; }
mark { padding: 0 .2em; border-radius: .2em; }
mark.given { background: #cfe3ff; color: #111; }
mark.doubt { background: #ffd8a8; color: #111; outline: 2px solid #b35900; }
mark.missed { background: none; color: inherit; outline: 2px dashed #b35900; }
sub { font-size: .7em; }
p { margin: 0; }
"""


def write_findings(
    table: TaggedTable,
    doubts: Sequence[SpanDoubt],
    review: Path,
    page: Path | None,
    studio: Path | None,
) -> str:
    """Write the files, and return the labelling interface of Label Studio."""
    review.write_text(write_review(table, doubts), "utf-8", newline="\n")
    if page is not None:
        page.write_text(render_page(table, doubts), "utf-8")
    if studio is not None:
        tasks = json.dumps(make_span_tasks(table, doubts), ensure_ascii=False, indent=1)
        studio.write_text(tasks + "\n", "utf-8")
    return make_span_config(table.kinds)


def render_counts(
    table: TaggedTable, doubts: Sequence[SpanDoubt], shown: Sequence[SpanDoubt]
) -> list[str]:
    """Return what was found in sentences, for the terminal."""
    expected = sum(doubt.probability for doubt in doubts)
    counts = Counter(doubt.kind for doubt in shown)
    kinds = ", ".join(f"{KINDS[kind]} {count:,}" for kind, count in counts.most_common())
    return [
        f"Given spans: {sum(map(len, table.spans)):,} in {len(table):,} sentences. "
        f"Expected number of errors: {expected:,.0f}.",
        f"Spans to review: {len(shown):,}" + (f" ({kinds})." if kinds else "."),
    ]


def render_page(table: TaggedTable, doubts: Sequence[SpanDoubt]) -> str:
    """Return an HTML page with every doubtful span in its sentence, the most doubtful first."""
    rows = "\n".join(_render_doubt(table, doubt) for doubt in doubts)
    name = html.escape(table.path.name)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Doubtful spans of {name}</title><style>{STYLE}</style></head><body>\n"
        f"<h1>Doubtful spans of {name}</h1>\n"
        "<p>Given spans are blue; the span in doubt has a frame, a dashed one if it may be missed. "
        "The number is the probability that the annotation is wrong.</p>\n"
        f"<ol>\n{rows}\n</ol></body></html>\n"
    )


def _render_doubt(table: TaggedTable, doubt: SpanDoubt) -> str:
    sentence, given = table.sentences[doubt.sentence], table.spans[doubt.sentence]
    marks = dict.fromkeys(given, "given")
    marks[doubt.place] = "missed" if doubt.given is None else "doubt"
    text = _mark_words(sentence.words, marks)
    suggestion = _describe_suggestion(sentence.words, doubt)
    head = f"{doubt.probability:.0%} {KINDS[doubt.kind]}{suggestion}, sentence {sentence.id}"
    return f"<li><p><strong>{html.escape(head)}</strong></p><p dir='auto'>{text}</p></li>"


def _describe_suggestion(words: Sequence[str], doubt: SpanDoubt) -> str:
    if doubt.suggested is None:
        return ""
    text = " ".join(words[doubt.suggested.start : doubt.suggested.end])
    return f": “{text}” {doubt.suggested.kind}".rstrip()


def _mark_words(words: Sequence[str], marks: dict[Span, str]) -> str:
    """Return the words of a sentence in HTML, with each span in a mark with its type."""
    parts, place = [], 0
    for span in sorted(marks):
        if span.start < place:
            continue  # a suggestion that overlaps a given span has no mark of its own
        parts += [html.escape(word) for word in words[place : span.start]]
        text = html.escape(" ".join(words[span.start : span.end]))
        kind = f"<sub>{html.escape(span.kind)}</sub>" if span.kind else ""
        parts.append(f'<mark class="{marks[span]}">{text}{kind}</mark>')
        place = span.end
    parts += [html.escape(word) for word in words[place:]]
    return " ".join(parts)
