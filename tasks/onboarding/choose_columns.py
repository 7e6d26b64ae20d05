"""Choice of the text and label columns of a table: by names, contents, and the model's losses."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tasks.onboarding import label_column, text_columns
from tasks.onboarding.label_doubts import describe_spellings
from tasks.onboarding.model_trial import ModelTrial
from tasks.onboarding.profiled_table import ProfiledTable
from tasks.onboarding.questions import Answers, Question, Reason
from tasks.onboarding.reading_trials import ReadingTrial, try_readings
from tasks.onboarding.target_columns import list_proposals
from tasks.onboarding.text_columns import TextReading, rank_texts
from tasks.onboarding.wishes import Wishes
from tasks.study.errors import Problem, StudyError, format_value, join_some, suggest
from tasks.study.spelling import normalize_nfc

ANSWER = "your answer"
WEAK_LEAD = 0.5
"""Difference of scores above which a text needs no check if no model reads it."""


@dataclass(frozen=True)
class Outputs:
    """Labels that a table's label column should have.

    Attributes:
        names: Names of the model's outputs, or label names of the training table.
        count: Largest number of labels; None without a model.
        trial: Loaded model; None without one.
    """

    names: Sequence[str] = ()
    count: int | None = None
    trial: ModelTrial | None = None


@dataclass(frozen=True)
class ContentColumns:
    """Text and label columns of a table.

    Attributes:
        text: Names of the text columns; empty for a table without text.
        label: Name of the label column.
        reasons: Evidence for text and label, by their key in the study.
    """

    text: tuple[str, ...]
    label: str
    reasons: dict[str, Reason] = field(default_factory=dict)


def choose_columns(
    table: ProfiledTable, wishes: Wishes, outputs: Outputs, answers: Answers
) -> ContentColumns:
    """Choose the text and label columns of a table.

    A label that neither the user nor its name nor its values tell is marked.

    Raises:
        StudyError: No column is plausible.
    """
    content = _choose_content(table, wishes, outputs, answers)
    reason = content.reasons["label"]
    if content.label in wishes.label or reason.text == ANSWER:
        return content
    profiles = {name: p for name, p in table.profiles.items() if name not in content.text}
    doubt = label_column.describe_doubt(profiles, content.label, outputs.names)
    return replace(content, reasons=content.reasons | {"label": replace(reason, doubt=doubt)})


def _choose_content(
    table: ProfiledTable, wishes: Wishes, outputs: Outputs, answers: Answers
) -> ContentColumns:
    """Choose the text and label columns by the model if there is one, else by their scores."""
    readings, labels = _rank_choices(table, wishes, outputs)
    if not readings:
        label, reason = _choose_label(table, labels, answers)
        return ContentColumns((), label, {"label": reason})
    lead = text_columns.CLEAR_LEAD if outputs.trial is not None else WEAK_LEAD
    texts, names = _list_contenders(readings, lead), _list_label_contenders(labels)
    trials: list[ReadingTrial] = []
    if outputs.trial is not None and (len(texts) > 1 or len(names) > 1):
        trials = try_readings(outputs.trial, table.frame, texts, names, outputs.names)
    if trials:
        return _choose_by_losses(table, trials, answers)
    reading, text_reason = _choose_text(table, texts, answers)
    labels = [(name, score) for name, score in labels if name not in reading.columns]
    if not labels:
        raise StudyError(table.path, [_explain_missing_label(table, outputs)])
    label, reason = _choose_label(table, labels, answers)
    return ContentColumns(reading.columns, label, {"text": text_reason, "label": reason})


def _rank_choices(
    table: ProfiledTable, wishes: Wishes, outputs: Outputs
) -> tuple[list[TextReading], list[tuple[str, float]]]:
    """Return the plausible texts and labels with their scores; those that the user names alone."""
    wished_texts = pick_wished(table, wishes.text)[:2]
    readings = [TextReading(wished_texts, 9.0)] if wished_texts else rank_texts(
        table.profiles, outputs.trial is not None
    )  # fmt: skip
    if wished_labels := pick_wished(table, wishes.label)[:1]:
        return readings, [(wished_labels[0], 9.0)]
    excluded = readings[0].columns if readings and text_columns.is_clear(readings) else ()
    labels = label_column.rank_labels(table.profiles, outputs.names, outputs.count, excluded)
    if not labels or _has_more_labels(table, outputs, labels[0][1]):
        raise StudyError(table.path, [_explain_missing_label(table, outputs)])
    return readings, labels


def pick_wished(table: ProfiledTable, wished: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that the user names and the table has."""
    return tuple(name for name in map(normalize_nfc, wished) if name in table.columns)


def check_wishes(tables: Sequence[ProfiledTable], wishes: Wishes) -> None:
    """Refuse a named column that no table has.

    Raises:
        StudyError: Names of such columns, with the nearest ones.
    """
    columns = [name for table in tables for name in table.columns]
    options = {"--text": wishes.text, "--label": wishes.label, "--id": wishes.id}
    problems = [
        Problem(option, f"one of the columns {join_some(dict.fromkeys(columns), 20)}",
                format_value(name), suggest(name, columns) or "correct the name of the column")
        for option, names in (options | {"--groups": wishes.groups or ()}).items()
        for name in names
        if normalize_nfc(name) not in columns
    ]  # fmt: skip
    if problems:
        raise StudyError(tables[0].path, problems)


def _list_contenders(readings: Sequence[TextReading], lead: float) -> list[TextReading]:
    """Return the readings that are nearly as plausible as the first."""
    return [reading for reading in readings if readings[0].score - reading.score < lead]


def _list_label_contenders(labels: Sequence[tuple[str, float]]) -> list[str]:
    lead = label_column.CLEAR_LEAD
    return [name for name, score in labels if labels[0][1] - score < lead][:4]


def _choose_text(
    table: ProfiledTable, texts: Sequence[TextReading], answers: Answers
) -> tuple[TextReading, Reason]:
    if len(texts) == 1:
        return texts[0], Reason()
    prompt = f"Which columns of {table.path.name} hold the text?"
    choice = answers.choose(Question(f"[{table.role}] text", prompt, [str(t) for t in texts]))
    others = tuple(str(text) for text in texts if text is not texts[choice])
    return texts[choice], Reason("", () if answers.are_certain else others)


def _choose_label(
    table: ProfiledTable, labels: Sequence[tuple[str, float]], answers: Answers
) -> tuple[str, Reason]:
    names = _list_label_contenders(labels)
    if len(names) == 1:
        return names[0], Reason()
    prompt = f"Which column of {table.path.name} holds the label?"
    options = [f"{n}: {join_some(table.profiles[n].values, 4)}" for n in names]
    choice = answers.choose(Question(f"[{table.role}] label", prompt, options))
    if answers.are_certain:
        return names[choice], Reason(ANSWER)
    return names[choice], Reason("", tuple(name for name in names if name != names[choice]))


def _choose_by_losses(
    table: ProfiledTable, trials: Sequence[ReadingTrial], answers: Answers
) -> ContentColumns:
    """Choose the columns under which the model's losses are lowest; ask if that is no evidence."""
    trials = _drop_unnamed_pairs(trials)
    best = min(trials, key=lambda trial: trial.losses.mean())
    rivals = [t for t in trials if t is not best and not best.is_better_than(t)]
    if rivals:
        ranked = [best, *sorted(rivals, key=lambda trial: trial.losses.mean())]
        prompt = f"Which columns of {table.path.name} hold text and label?"
        options = [
            f"text {t.reading}, label {t.label}: {100 * t.accuracy:.0f} % predicted correctly"
            for t in ranked
        ]
        choice = answers.choose(Question(f"[{table.role}] text", prompt, options))
        best, rivals = ranked[choice], [t for t in ranked if t is not ranked[choice]]
    texts = {str(trial.reading): trial for trial in trials if trial.label == best.label}
    others = ", ".join(
        f"{100 * trial.accuracy:.0f} % with {text}"
        for text, trial in texts.items()
        if trial.reading != best.reading
    )
    basis = f"{100 * best.accuracy:.0f} % of {len(best.losses)} rows are predicted correctly"
    basis = f"{basis}, {others}" if others else ""
    open_texts = tuple(dict.fromkeys(str(t.reading) for t in rivals if t.reading != best.reading))
    open_labels = tuple(dict.fromkeys(t.label for t in rivals if t.label != best.label))
    reasons = {"text": Reason(basis, open_texts), "label": Reason("", open_labels)}
    if rivals and answers.are_certain:
        reasons = {"text": Reason(basis), "label": Reason(ANSWER)}
    return ContentColumns(best.reading.columns, best.label, reasons)


def _has_more_labels(table: ProfiledTable, outputs: Outputs, score: float) -> bool:
    """Whether the column that must be the label has more values than the model has outputs."""
    if outputs.count is None:
        return False
    name, named_score = label_column.rank_labels(table.profiles, outputs.names)[0]
    is_named = named_score >= max(label_column.MIN_SCORE, score + label_column.CLEAR_LEAD)
    return is_named and table.profiles[name].distinct > outputs.count


def _drop_unnamed_pairs(trials: Sequence[ReadingTrial]) -> Sequence[ReadingTrial]:
    """Drop pairs of any two columns, or all other readings if such a pair is significantly better.

    A further text that the model was not trained on often changes its losses little.
    """
    named = [trial for trial in trials if trial.reading.is_named]
    pairs = [trial for trial in trials if not trial.reading.is_named]
    if not named or not pairs:
        return trials
    best, best_pair = (min(each, key=lambda t: t.losses.mean()) for each in (named, pairs))
    return pairs if best_pair.is_better_than(best) else named


def _explain_missing_label(table: ProfiledTable, outputs: Outputs) -> Problem:
    """Return the problem of a table without a plausible label, or with more labels than outputs."""
    expected = "a column with the labels"
    if outputs.count is not None:
        expected = f"a column with the {outputs.count} labels {join_some(outputs.names)}"
    named = label_column.rank_labels(table.profiles, outputs.names)
    if outputs.count is not None and named and named[0][1] >= label_column.MIN_SCORE:
        profile = table.profiles[named[0][0]]
        rare = sorted(profile.values, key=lambda value: profile.values[value])
        got = f"the column {format_value(profile.name)} with {profile.distinct} values, among them "
        got += join_some([f"{format_value(v)} ({profile.values[v]:,} rows)" for v in rare], 4)
        change = "remove rows whose label the model lacks, or name another column: --label COLUMN"
        change = describe_spellings(profile.values) or change
        return Problem(f"[{table.role}] label", expected, got, change)
    columns = [f"{name} ({p.distinct} values)" for name, p in table.profiles.items()]
    got = f"none among the columns {join_some(columns, 20)}"
    needed = "; queries need their true labels" if table.role == "queries" else ""
    change = f"name it: --label COLUMN{needed}; for other targets than one class a row: --target, "
    change += "see docs/guides/targets.md"
    if proposals := [*list_proposals(table)]:
        change = "; ".join([*proposals, f"or name a column of classes: --label COLUMN{needed}"])
    return Problem(f"[{table.role}] label", expected, got, change)
