"""Statements of a study on a model of scikit-learn, checked against the fitted model."""

import math

from torch import nn

from fastif import InputError
from fastif.pipelines.pipeline_module import PipelineModule
from tasks.data.announcements import announce_notes
from tasks.study.errors import format_value
from tasks.study.study import Study
from tasks.study.target_kind import CLASS, NUMBER


def check_pipeline_statements(study: Study, module: nn.Module, rows: int) -> None:
    """Refuse a study that states another penalty, loss or order of labels than the fitted model.

    Args:
        study: Study file.
        module: Module of the study; others than those of `fastif.pipelines` are not examined.
        rows: Number of training rows.

    Raises:
        InputError: Labels, target, penalty or balanced class weights differ from those of the fit.
    """
    if not isinstance(module, PipelineModule):
        return
    head = module.head
    kind = NUMBER if head.classes is None else CLASS
    if study.target != kind:
        raise _refuse("target", format_value(kind), format_value(study.target), "Correct the key.")
    if head.classes is not None and tuple(study.labels) != head.classes:
        expected = f"the classes of the model in their order: {format_value(list(head.classes))}"
        got = format_value(list(study.labels))
        raise _refuse("labels", expected, got, "Correct the order or the names.")
    penalty = head.penalty.compute(rows)
    if not math.isclose(study.penalty, penalty, rel_tol=1e-3, abs_tol=1e-12):
        expected = f"the L2 penalty of the fit for {rows:,} training rows, {penalty:.6g}"
        remedy = f'State weight_decay = {penalty:.6g} and weight_decay_kind = "coupled".'
        raise _refuse("[loss] weight_decay", expected, f"{study.penalty:g}", remedy)
    if head.is_balanced and study.loss.class_weights != "balanced":
        got = format_value(study.loss.class_weights)
        remedy = 'State class_weights = "balanced".'
        raise _refuse("[loss] class_weights", 'class_weight="balanced" of the fit', got, remedy)
    announce_notes(head.notes)


def _refuse(key: str, expected: str, got: str, change: str) -> InputError:
    return InputError(key, expected, got, change)
