"""Label Studio: tasks to import, labelling interface, and parsing of its exports.

The formats are those of version 1.23. In JSON a task has its annotations, also skipped ones. In
JSON_MIN, CSV and TSV each row is an annotation, without skipped ones; in JSON_MIN the column `id`
is the task number.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from tasks.mislabels.label_words import choose_none_word
from tasks.mislabels.review_records import (
    ReviewFile,
    ReviewRecord,
    RowCells,
    format_cell,
)
from tasks.mislabels.strength import PROBABILITY, STRENGTH
from tasks.study.errors import Problem, format_value

CHOICE_NAME = "right_label"
EXPORT_FORMATS = "JSON, JSON_MIN, CSV or TSV"


def make_labelling_tasks(frame: pl.DataFrame) -> list[dict]:
    """Return tasks to import; the suggested label is preselected where it is more probable.

    Tasks of a random audit sample have no preselected label: a reviewer who accepts it without
    reading would make every row wrong.

    Args:
        frame: Rows to review; see `tasks.mislabels.review_export`.
    """
    tasks = []
    for row in frame.drop("right_label", "reviewer").iter_rows(named=True):
        data = {name: "" if value is None else value for name, value in row.items()}
        task: dict = {"data": data}
        # A random audit sample has no scores.
        error_probability = row.get(PROBABILITY) or row.get(STRENGTH) or 0.0
        if (
            not row["drawn"]
            and error_probability * (row.get("confidence") or 0.0) > 1 - error_probability
        ):
            choice = {"choices": [row["suggested"]]}
            result = {
                "from_name": CHOICE_NAME,
                "to_name": "text",
                "type": "choices",
                "value": choice,
            }
            task["predictions"] = [{"result": [result], "score": error_probability}]
        tasks.append(task)
    return tasks


def make_label_config(labels: Sequence[str]) -> str:
    """Return the labelling interface of the tasks, as XML."""
    words = (*labels, choose_none_word(labels))
    choices = "".join(f'<Choice value="{_escape_xml(word)}"/>' for word in words)
    return (
        '<View><Text name="text" value="$text"/><Text name="text_pair" value="$text_pair"/>'
        '<Text name="label" value="given: $label"/>'
        f'<Choices name="{CHOICE_NAME}" toName="text" choice="single">{choices}</Choices></View>'
    )


def is_task_list(content: Sequence[Mapping]) -> bool:
    """Whether the content is a JSON export, or tasks without annotations."""
    return any(isinstance(task.get("data"), Mapping) for task in content)


def is_flat_list(content: Sequence[Mapping]) -> bool:
    """Whether the content is a JSON_MIN export: rows with the number of an annotation."""
    return any("annotation_id" in row for row in content)


def parse_tasks(content: Sequence[Mapping]) -> ReviewFile:
    """Return the records of a JSON export; a task without annotations is not reviewed."""
    records: list[ReviewRecord] = []
    refused: list[Problem] = []
    skipped, drafts, flagged = 0, 0, False
    for number, task in enumerate(content, 1):
        data = task.get("data")
        if not isinstance(data, Mapping):
            place = f"task {number}"
            problem = Problem(
                place, "an object `data`", format_value(data, 40), "export it again as JSON"
            )
            refused.append(problem)
            continue
        cells = RowCells({str(name): format_cell(value) for name, value in data.items()})
        flagged |= cells["drawn"] is not None
        blank = _make_record(f"task {number}", cells, None)
        annotations = _list_mappings(task.get("annotations"))
        submitted = [
            annotation
            for annotation in annotations
            if not (annotation.get("was_cancelled") or annotation.get("skipped"))
        ]
        skipped += len(annotations) > 0 and not submitted
        drafts += not annotations and len(_list_mappings(task.get("drafts"))) > 0
        records += [blank] if not submitted else []
        for annotation in submitted:
            words = list(_iterate_choices(annotation.get("result")))
            others = _list_other_names(annotation.get("result"))
            misnamed = not words and len(others) > 0
            record = (
                _make_misnamed_problem(blank, others)
                if misnamed
                else _fill_record(blank, words, annotation)
            )
            (refused if isinstance(record, Problem) else records).append(record)  # type: ignore[arg-type]
    counts = {"skipped tasks": skipped, "tasks with an unsubmitted draft": drafts}
    notes = tuple(f"{count} {kind} have no annotation" for kind, count in counts.items() if count)
    return ReviewFile(tuple(records), tuple(refused), notes, flagged)


def parse_annotation(place: str, cells: RowCells, choice: object) -> ReviewRecord | Problem:
    """Return the record of a row of JSON_MIN, CSV or TSV.

    Args:
        place: Position of the row in the file, such as `row 3`.
        cells: Row by column.
        choice: Value of the column `right_label`: a label, or `{"choices": [...]}`.
    """
    blank = _make_record(place, cells, None)
    if cells["annotation_id"] is None:
        return blank  # an exported task without an annotation
    return _fill_record(blank, _parse_choice(choice), dict(cells.values))


def _make_record(place: str, cells: RowCells, right: str | None) -> ReviewRecord:
    row, name, label = cells["row"], cells["id"], cells["label"]
    return ReviewRecord(place, right, "", row, name, cells.read_texts(), label, cells["drawn"])


def _fill_record(
    blank: ReviewRecord, choices: list[str], annotation: Mapping
) -> ReviewRecord | Problem:
    if len(choices) != 1:
        got = "none" if not choices else f"{len(choices)}: {', '.join(map(format_value, choices))}"
        change = "choose one in Label Studio, or skip the task, and export again"
        return blank.make_problem("right_label", "one choice", got, change)
    reviewer = annotation.get("completed_by", annotation.get("annotator"))
    if isinstance(reviewer, Mapping):
        reviewer = reviewer.get("id") or reviewer.get("email")
    when = annotation.get("updated_at") or annotation.get("created_at")
    fields = {name: getattr(blank, name) for name in ("row", "id", "texts", "label", "drawn")}
    return ReviewRecord(
        blank.place, choices[0], format_cell(reviewer) or "", **fields, when=format_cell(when)
    )


def _iterate_choices(results: object) -> Iterator[str]:
    """Yield the choices of an annotation under the interface's name, or without a name."""
    for result in _list_mappings(results):
        value = result.get("value")
        if result.get("from_name", CHOICE_NAME) == CHOICE_NAME and isinstance(value, Mapping):
            yield from _parse_choice(value)


def _list_other_names(results: object) -> list[str]:
    """Return other names under which the annotation has choices."""
    choices = [result for result in _list_mappings(results) if result.get("type") == "choices"]
    names = dict.fromkeys(str(result.get("from_name", CHOICE_NAME)) for result in choices)
    return [name for name in names if name != CHOICE_NAME]


def _make_misnamed_problem(blank: ReviewRecord, names: Sequence[str]) -> Problem:
    """Refuse choices of another labelling interface: they may answer another question."""
    change = (
        f'use the labelling interface of the export, whose choices have the name "{CHOICE_NAME}"'
    )
    got = f"choices under {', '.join(map(format_value, names))}"
    return blank.make_problem(
        "right_label", f"choices under {format_value(CHOICE_NAME)}", got, change
    )


def _parse_choice(choice: object) -> list[str]:
    """Return the labels of a choice: a string, a list, or `{"choices": [...]}`, as JSON in CSV."""
    if isinstance(choice, str) and choice.startswith('{"choices"'):
        try:
            choice = json.loads(choice)
        except ValueError:
            return [choice]
    if isinstance(choice, Mapping):
        choice = choice.get("choices")
    items = choice if isinstance(choice, list) else [choice]
    return [word for word in map(format_cell, items) if word is not None]


def _list_mappings(value: object) -> list[Mapping]:
    items = value if isinstance(value, list) else []
    return [item for item in items if isinstance(item, Mapping)]


def _escape_xml(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
