"""Checks of the kind of target against the labels and columns of a study."""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from tasks.study.any_candidates import AnyCandidates
from tasks.study.errors import Problem, format_value, join_some
from tasks.study.loss import KINDS_OF_TARGET, TrainingLoss
from tasks.study.sections import ModelSource, QuerySource, TableSource, TrainSource
from tasks.study.target_kind import (
    CLASS,
    MULTI_LABEL,
    NO_TAG,
    NUMBER,
    ONE_CLASS,
    SOFT_LABEL,
    TAGS,
)
from tasks.study.training_section import Training

WRONG_TARGET_KINDS = (MULTI_LABEL, NUMBER)
"""Kinds, besides classes, whose wrong targets are searched for without a model."""
MULTIPLE_COLUMNS = (SOFT_LABEL, MULTI_LABEL, NUMBER)
"""Kinds whose target may be one column for each label."""


@runtime_checkable
class TargetSections(Protocol):
    """The parts of a study that its kind of target is checked against."""

    @property
    def target(self) -> str:
        """Kind of the target of a row."""
        ...

    @property
    def labels(self) -> Sequence[str]:
        """Label names."""
        ...

    @property
    def model(self) -> ModelSource:
        """Trained classifier."""
        ...

    @property
    def training(self) -> Training | None:
        """Training recipe of the model; None without one."""
        ...

    @property
    def train(self) -> TrainSource:
        """Table of training rows."""
        ...

    @property
    def queries(self) -> QuerySource:
        """Table of queries."""
        ...

    @property
    def candidates(self) -> AnyCandidates:
        """Method that selects candidates."""
        ...

    @property
    def loss(self) -> TrainingLoss:
        """Loss of training."""
        ...

    @property
    def has_audit(self) -> bool:
        """Whether the study has the sections that an audit needs."""
        ...


def check_target_sections(study: TargetSections) -> Iterator[Problem]:
    """Yield a problem for each contradiction between the kind of target and the study's keys."""
    yield from _check_label_count(study)
    for role, source in (("train", study.train), ("queries", study.queries)):
        yield from _check_columns(study, role, source.labels)
    if study.queries.by_label and study.target != MULTI_LABEL:
        expected, got = 'target = "multi-label"', format_value(study.target)
        yield Problem("[queries] by_label", expected, got, "remove the key")
    yield from _check_measure(study)
    yield from _check_tags(study) if study.target == TAGS else _check_no_tags(study)
    if study.target in ONE_CLASS:
        return
    if not study.has_audit and study.target not in WRONG_TARGET_KINDS:
        got, change = format_value(study.target), "add [model], [curvature] and [candidates]"
        if study.target == TAGS:
            change += "; or search for wrong spans with `fastif spans find TABLE`"
        yield Problem("target", 'an audit, or target = "class"', got, change)
    for where, method in study.candidates.methods_in_file:
        if method.quota is not None:
            expected = f"no such key with target = {format_value(study.target)}"
            yield Problem(f"{where} quota", expected, f"{method.quota:g}", "remove the key")


def _check_measure(study: TargetSections) -> Iterator[Problem]:
    """Yield a problem of a measure that the outputs of the model have not.

    A margin and an entropy are of one output a class, a log probability of classes or labels.
    """
    measure = study.queries.measure
    kind = study.loss.kind or KINDS_OF_TARGET.get(study.target, ("",))[0]
    is_of_classes = study.target in ONE_CLASS and kind in ("cross-entropy", "focal")
    is_of_numbers = kind in ("squared", "huber")
    needs_classes = measure in ("margin", "entropy") and not is_of_classes
    if needs_classes or (measure == "log-probability" and is_of_numbers):
        what = f"target = {format_value(study.target)} and the loss {format_value(kind)}"
        got, change = format_value(measure), "remove the key"
        yield Problem("[queries] measure", f'"auto" or "loss" with {what}', got, change)


def _check_label_count(study: TargetSections) -> Iterator[Problem]:
    least = 1 if study.target in (MULTI_LABEL, NUMBER) else 2
    if len(study.labels) < least:
        got = format_value(list(study.labels))
        yield Problem("labels", f"{least} or more entries", got, "add the missing ones")


def _check_columns(study: TargetSections, role: str, columns: Sequence[str]) -> Iterator[Problem]:
    """Yield a problem of `labels` of a table: with one class a row, or of another number."""
    if not columns:
        return
    if study.target not in MULTIPLE_COLUMNS:
        expected = f"label, one column, with target = {format_value(study.target)}"
        if study.target == CLASS:
            expected = 'label, one column; or target = "multi-label", "soft-label" or "number"'
        change = "correct the key, or state target"
        yield Problem(f"[{role}] labels", expected, format_value(list(columns)), change)
    elif len(columns) != len(study.labels):
        expected = f"{len(study.labels)} columns, one for each label of the study, in its order"
        yield Problem(f"[{role}] labels", expected, str(len(columns)), "correct labels")


def _check_no_tags(study: TargetSections) -> Iterator[Problem]:
    """Yield a problem of each key that only tags have."""
    expected, got = 'target = "tags"', format_value(study.target)
    if study.queries.by_span:
        yield Problem("[queries] by_span", expected, got, "remove the key")
    if study.model.subwords != "first":
        yield Problem("[model] subwords", expected, got, "remove the key")


def _check_tags(study: TargetSections) -> Iterator[Problem]:
    """Yield a problem of each key that tags of words do not have, and of names no tag may have."""
    wrong = [name for name in study.labels if name == NO_TAG or len(name.split()) != 1]
    if wrong:
        expected = f"tags without spaces, and none that is {format_value(NO_TAG)}"
        change = "rename these tags, here and in the model's config.json"
        yield Problem("labels", expected, format_value(wrong[0]), change)
    expected = f"no such key with target = {format_value(TAGS)}"
    sources: dict[str, TableSource] = {"train": study.train, "queries": study.queries}
    for role, source in sources.items():
        if len(source.text) != 1:
            got = join_some(source.content_columns)
            change = f'write text = "tokens" under [{role}]'
            yield Problem(f"[{role}] text", "one column with lists of words", got, change)
    if study.train.weight is not None:
        got, change = format_value(study.train.weight), "remove the key: words have equal weights"
        yield Problem("[train] weight", expected, got, change)
    if study.model.factory is not None:
        got = format_value(study.model.factory)
        change = "use the folder of a token classifier, as save_pretrained writes it"
        yield Problem("[model] factory", expected, got, change)
    if study.training is not None and study.training.lora_rank is not None:
        got, change = str(study.training.lora_rank), "set trainable in its place"
        yield Problem("[training] lora_rank", expected, got, change)
    if study.queries.by_span and study.has_audit and not study.queries.label:
        got, change = "no label under [queries]", "name the column with the tags, or remove by_span"
        yield Problem("[queries] by_span", "tags, which have the spans", got, change)
