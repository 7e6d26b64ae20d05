"""Lines of a study file on a target whose kind the user has stated."""

from collections.abc import Iterator

from tasks.onboarding.model_folder import ModelFolder
from tasks.onboarding.study_text import Line, Part
from tasks.onboarding.target_columns import TargetColumns
from tasks.study.target_kind import NUMBER, ORDINAL

USUAL_LENGTH = 128
LENGTH_DOUBT = "its training records no length"


def make_target_lines(targets: TargetColumns) -> Iterator[Line]:
    """Yield the lines at the top of the file: target, and labels but for numbers."""
    yield Line("target", targets.kind, "what a row is labelled with; stated by --target")
    if targets.kind != NUMBER:
        yield Line("labels", targets.labels, targets.reason, doubt=targets.doubt)


def make_column_line(targets: TargetColumns) -> Line:
    """Return the line with the target columns of a table."""
    doubt = targets.doubt if targets.kind == NUMBER else ""
    first, *others = targets.columns
    if others:
        comment = f"one column for each label, {targets.reason}"
        return Line("labels", list(targets.columns), comment, doubt=doubt)
    return Line("label", first, f"the target, {targets.reason}", doubt=doubt)


def make_length_line(model: ModelFolder) -> Line:
    """Return the line with the length of the texts: the recorded one, or the usual one."""
    doubt = "" if model.max_length else LENGTH_DOUBT
    return Line("max_length", model.max_length or USUAL_LENGTH, "tokens, as in training", (), doubt)


def make_loss_part(model: ModelFolder | None, targets: TargetColumns) -> list[Part]:
    """Return the loss of ordered classes by the number of outputs; none for the usual loss."""
    if model is None or targets.kind != ORDINAL:
        return []
    kind = {1: "squared", len(targets.labels) - 1: "ordinal"}.get(len(model.names))
    if kind is None:
        return []
    comment = f"by its {len(model.names)} outputs; see docs/guides/losses.md for the settings"
    doubt = "the loss of training is not recorded"
    return [Part("loss", "the loss of training", [Line("kind", kind, comment, doubt=doubt)])]
