"""Label Studio: tasks of sentences with marked spans, and the spans of its JSON export."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastif.tokens import Span
from fastif.wrong_spans.span_doubts import SpanDoubt
from tasks.study.errors import Problem, StudyError, format_value
from tasks.tokens.tagged_table import TaggedTable, raise_problems

NAME, TEXT = "spans", "text"


def make_span_config(kinds: Sequence[str]) -> str:
    """Return the labelling interface of the tasks, as XML."""
    marks = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})
    labels = "".join(f'<Label value="{kind.translate(marks)}"/>' for kind in kinds)
    return (
        f'<View><Labels name="{NAME}" toName="{TEXT}">{labels}</Labels>'
        f'<Text name="{TEXT}" value="${TEXT}"/></View>'
    )


def make_span_tasks(table: TaggedTable, doubts: Sequence[SpanDoubt]) -> list[dict[str, Any]]:
    """Return a task for each sentence with doubtful spans, the most doubtful first.

    The given spans are marked; the doubts are in the data of the task.
    """
    by_sentence: dict[int, list[SpanDoubt]] = {}
    for doubt in doubts:
        by_sentence.setdefault(doubt.sentence, []).append(doubt)
    tasks, spans = [], table.spans
    for row, own in by_sentence.items():
        words = table.sentences[row].words
        starts, text = locate_words(words)
        data = {
            TEXT: text,
            "id": table.sentences[row].id,
            "doubts": "; ".join(_describe(doubt, words) for doubt in own),
        }
        marked = [_make_region(span, words, starts) for span in spans[row]]
        score = max(doubt.probability for doubt in own)
        tasks.append({"data": data, "predictions": [{"result": marked, "score": score}]})
    return tasks


def locate_words(words: Sequence[str]) -> tuple[list[int], str]:
    """Return the place of each word's first character in the text of a sentence, and the text."""
    starts, length = [], 0
    for word in words:
        starts.append(length)
        length += len(word) + 1
    return starts, " ".join(words)


def _describe(doubt: SpanDoubt, words: Sequence[str]) -> str:
    place = doubt.place
    text = " ".join(words[place.start : place.end])
    return f"{doubt.kind} ({doubt.probability:.0%}): {text}"


def _make_region(span: Span, words: Sequence[str], starts: Sequence[int]) -> dict[str, Any]:
    end = starts[span.end - 1] + len(words[span.end - 1])
    text = " ".join(words[span.start : span.end])
    value = {"start": starts[span.start], "end": end, "text": text, "labels": [span.kind]}
    return {"from_name": NAME, "to_name": TEXT, "type": "labels", "value": value}


def read_span_tasks(path: Path, table: TaggedTable) -> dict[int, list[Span]]:
    """Read the spans of annotated sentences from a JSON export of Label Studio.

    Of several annotations of a task the last one that was not cancelled counts. Regions must begin
    and end at words.

    Returns:
        Spans by the position of the sentence.

    Raises:
        StudyError: The file is no export, or a task does not belong to the table.
    """
    try:
        tasks = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        problem = Problem("file", "a JSON export of Label Studio", f"{error}", "export JSON")
        raise StudyError(path, [problem]) from error
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        got = format_value(tasks, 40)
        raise StudyError(path, [Problem("file", "a list of tasks", got, "export JSON")])
    spans, problems = {}, []
    for number, task in enumerate(tasks, 1):
        try:
            row, own = _parse_task(task, table)
        except _TaskError as error:
            problems.append(Problem(f"task {number}", *error.args))
            continue
        if own is not None:
            spans[row] = own
    raise_problems(path, problems)
    return spans


class _TaskError(Exception):
    """What is expected of a task, what is there, and the remedy."""


def _parse_task(task: Mapping[str, Any], table: TaggedTable) -> tuple[int, list[Span] | None]:
    data = task.get("data")
    sentence_id = data.get("id") if isinstance(data, dict) else None
    row = table.find_sentence(f"{sentence_id}")
    if row is None:
        got = format_value(sentence_id, 40)
        raise _TaskError("the id of a sentence of the table in its data", got, "keep the data")
    words = table.sentences[row].words
    starts, text = locate_words(words)
    if data is None or data.get(TEXT) != text:
        raise _TaskError("the text of the sentence", "another one", "export the table again")
    annotations = [a for a in task.get("annotations") or [] if not a.get("was_cancelled")]
    if not annotations:
        return row, None
    ends = {start + len(words[place]): place + 1 for place, start in enumerate(starts)}
    begins = {start: place for place, start in enumerate(starts)}
    spans = []
    for region in annotations[-1].get("result") or []:
        if region.get("type") == "labels":
            spans.append(_parse_region(region.get("value") or {}, begins, ends))
    return row, sorted(spans)


def _parse_region(
    value: Mapping[str, Any], begins: Mapping[Any, int], ends: Mapping[Any, int]
) -> Span:
    start, end, labels = value.get("start"), value.get("end"), value.get("labels")
    if not isinstance(labels, list) or len(labels) != 1:
        raise _TaskError("one label for each span", format_value(labels, 40), "correct it")
    first, last = begins.get(start, -1), ends.get(end, -1)
    if not 0 <= first < last:
        got = f"characters {start} to {end}"
        raise _TaskError("spans that begin and end at words", got, "correct the marked text")
    return Span(first, last, f"{labels[0]}")
