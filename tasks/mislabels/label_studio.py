"""Label Studio: tasks that it imports, its labelling interface, and the exports it gives back.

Shapes are those of version 1.23. In JSON a task has its annotations, skipped ones too; in JSON_MIN,
CSV and TSV an annotation is a row, skipped ones are left out, and JSON_MIN has the number of the
task where the study's id was.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from tasks.mislabels.label_words import none_word
from tasks.mislabels.review_records import (
    Cells,
    Reading,
    Record,
    word_of,
)
from tasks.study.errors import Problem, show

CHOICE = "right_label"
READ = "JSON, JSON_MIN, CSV or TSV"


def labelling_tasks(frame: pl.DataFrame) -> list[dict]:
    """Tasks to import, the suggestion ticked where it is likelier than the given label.

    Nothing is ticked in a random sample: whoever agrees with a tick without reading would make
    every row wrong.

    Args:
        frame: decisions; see `tasks.mislabels.review_export`.
    """
    tasks = []
    for row in frame.drop("right_label", "reviewer").iter_rows(named=True):
        data = {name: "" if value is None else value for name, value in row.items()}
        task: dict = {"data": data}
        wrong = row["probability"] or 0.0
        if not row["drawn"] and wrong * (row["confidence"] or 0.0) > 1 - wrong:
            choice = {"choices": [row["suggested"]]}
            result = {"from_name": CHOICE, "to_name": "text", "type": "choices", "value": choice}
            task["predictions"] = [{"result": [result], "score": wrong}]
        tasks.append(task)
    return tasks


def label_config(labels: Sequence[str]) -> str:
    """The labelling interface that goes with the tasks."""
    words = (*labels, none_word(labels))
    choices = "".join(f'<Choice value="{_escaped(word)}"/>' for word in words)
    return (
        '<View><Text name="text" value="$text"/><Text name="text_pair" value="$text_pair"/>'
        '<Text name="label" value="given: $label"/>'
        f'<Choices name="{CHOICE}" toName="text" choice="single">{choices}</Choices></View>'
    )


def is_task_list(content: Sequence[Mapping]) -> bool:
    """Whether it is an export as JSON, or tasks that nobody has annotated yet."""
    return any(isinstance(task.get("data"), Mapping) for task in content)


def is_flat_list(content: Sequence[Mapping]) -> bool:
    """Whether it is an export as JSON_MIN: rows with the number of an annotation."""
    return any("annotation_id" in row for row in content)


def read_tasks(content: Sequence[Mapping]) -> Reading:
    """Records of an export as JSON; a task without annotation is not looked at."""
    records: list[Record] = []
    refused: list[Problem] = []
    skipped, drafts, flagged = 0, 0, False
    for number, task in enumerate(content, 1):
        data = task.get("data")
        if not isinstance(data, Mapping):
            place = f"task {number}"
            problem = Problem(place, "data of a task", show(data, 40), "export it again as JSON")
            refused.append(problem)
            continue
        cells = Cells({str(name): word_of(value) for name, value in data.items()})
        flagged |= cells["drawn"] is not None
        blank = _record(f"task {number}", cells, None)
        annotations = _listed(task.get("annotations"))
        kept = [a for a in annotations if not (a.get("was_cancelled") or a.get("skipped"))]
        skipped += len(annotations) > 0 and not kept
        drafts += not annotations and len(_listed(task.get("drafts"))) > 0
        records += [blank] if not kept else []
        for annotation in kept:
            words = list(_choices(annotation.get("result")))
            others = _other_choices(annotation.get("result"))
            misnamed = not words and len(others) > 0
            record = _renamed(blank, others) if misnamed else _answered(blank, words, annotation)
            (refused if isinstance(record, Problem) else records).append(record)  # type: ignore[arg-type]
    counts = {"skipped tasks": skipped, "tasks with a draft alone, not submitted,": drafts}
    notes = tuple(f"{count} {what} are not verdicts" for what, count in counts.items() if count)
    return Reading(tuple(records), tuple(refused), notes, flagged)


def read_annotation(place: str, cells: Cells, choice: object) -> Record | Problem:
    """The record of a row of JSON_MIN, CSV or TSV.

    Args:
        place: of the row.
        cells: its columns.
        choice: of the column right_label: a word, or `{"choices": [...]}` of several or none.
    """
    blank = _record(place, cells, None)
    if cells["annotation_id"] is None:
        return blank  # an exported task that nobody has looked at
    return _answered(blank, _words(choice), dict(cells.values))


def _record(place: str, cells: Cells, right: str | None) -> Record:
    row, name, label = cells["row"], cells["id"], cells["label"]
    return Record(place, right, "", row, name, cells.texts(), label, cells["drawn"])


def _answered(blank: Record, words: list[str], annotation: Mapping) -> Record | Problem:
    if len(words) != 1:
        got = "none" if not words else f"{len(words)}: {', '.join(map(show, words))}"
        change = "choose one in Label Studio, or skip the task, and export again"
        return blank.refused("right_label", "one choice", got, change)
    who = annotation.get("completed_by", annotation.get("annotator"))
    if isinstance(who, Mapping):
        who = who.get("id") or who.get("email")
    when = annotation.get("updated_at") or annotation.get("created_at")
    own = {name: getattr(blank, name) for name in ("row", "id", "texts", "label", "drawn")}
    return Record(blank.place, words[0], word_of(who) or "", **own, when=word_of(when))


def _choices(results: object) -> Iterator[str]:
    """Choices of an annotation under the name of our interface, or under none."""
    for result in _listed(results):
        value = result.get("value")
        if result.get("from_name", CHOICE) == CHOICE and isinstance(value, Mapping):
            yield from _words(value)


def _other_choices(results: object) -> list[str]:
    """Names of the interface other than ours under which there are choices."""
    chosen = [result for result in _listed(results) if result.get("type") == "choices"]
    names = dict.fromkeys(str(result.get("from_name", CHOICE)) for result in chosen)
    return [name for name in names if name != CHOICE]


def _renamed(blank: Record, names: Sequence[str]) -> Problem:
    """A choice under another name than ours answers we do not know which question."""
    change = f'use the labelling interface of the export, whose choices have the name "{CHOICE}"'
    got = f"choices under {', '.join(map(show, names))}"
    return blank.refused("right_label", f"choices under {show(CHOICE)}", got, change)


def _words(choice: object) -> list[str]:
    """Words of one choice: a word, a list, or `{"choices": [...]}`, which CSV has as JSON."""
    if isinstance(choice, str) and choice.startswith('{"choices"'):
        try:
            choice = json.loads(choice)
        except ValueError:
            return [choice]
    if isinstance(choice, Mapping):
        choice = choice.get("choices")
    several = choice if isinstance(choice, list) else [choice]
    return [word for word in map(word_of, several) if word is not None]


def _listed(value: object) -> list[Mapping]:
    several = value if isinstance(value, list) else []
    return [one for one in several if isinstance(one, Mapping)]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
