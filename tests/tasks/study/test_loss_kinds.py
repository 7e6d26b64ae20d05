"""The section `[loss]` for targets beyond one class a row."""

import tomllib

import pytest

from fastif import BinaryCrossEntropy, CrossEntropy, InputError, SquaredError
from fastif.losses import BinaryFocalLoss, FocalLoss, Huber, OrdinalCrossEntropy
from tasks.study.errors import StudyError
from tasks.study.loss import TrainingLoss, order_class_weights
from tasks.study.study import load_study
from tests.tasks.study.study_files import insert_loss, write_changed

KINDS = [
    ("class", "", CrossEntropy()),
    ("class", 'kind = "cross-entropy"', CrossEntropy()),
    ("class", 'kind = "focal"', FocalLoss(2.0)),
    (
        "class",
        'kind = "focal"\nfocal_gamma = 0\nclass_weights = {pos = 2.5, neg = 1}',
        FocalLoss(0.0, (1.0, 2.5)),
    ),
    ("soft-label", "label_smoothing = 0.1", CrossEntropy(0.1)),
    ("multi-label", "", BinaryCrossEntropy(None, "mean")),
    (
        "multi-label",
        'pos_weight = {pos = 2.5, neg = 1}\nreduction = "sum"',
        BinaryCrossEntropy((1.0, 2.5), "sum"),
    ),
    ("multi-label", 'kind = "focal"\nreduction = "sum"', BinaryFocalLoss(2.0)),
    ("ordinal", "", CrossEntropy()),
    ("ordinal", 'kind = "ordinal"', OrdinalCrossEntropy("coral", 2)),
    (
        "ordinal",
        'kind = "ordinal"\nordinal_kind = "cumulative"',
        OrdinalCrossEntropy("cumulative", 2),
    ),
    ("ordinal", 'kind = "huber"\nhuber_delta = 0.5', Huber(0.5, "mean")),
    ("number", "", SquaredError("mean")),
    ("number", 'kind = "huber"', Huber(1.0, "mean")),
]


def read_loss(text: str) -> TrainingLoss:
    """Read the section as a study does, with the labels neg and pos."""
    values = {"labels": ["neg", "pos"], "loss": tomllib.loads(text)}
    assert list(order_class_weights(values)) == []
    return TrainingLoss.model_validate(values["loss"])


@pytest.mark.parametrize(("target", "text", "expected"), KINDS)
def test_the_loss_of_each_target_is_built(target, text, expected):
    section = read_loss(text)
    assert list(section.find_contradictions(target)) == []
    assert section.build([], 2, target) == expected
    again = TrainingLoss.model_validate_json(section.model_dump_json())
    assert again.build([], 2, target) == expected


@pytest.mark.parametrize(
    ("target", "text", "where"),
    [
        ("number", "label_smoothing = 0.1", "label_smoothing"),
        ("number", "class_weights = [1.0, 2.0]", "class_weights"),
        ("number", 'kind = "cross-entropy"', "kind"),
        ("number", "huber_delta = 1.0", "huber_delta"),
        ("class", 'kind = "squared"', "kind"),
        ("class", 'kind = "binary"', "kind"),
        ("class", 'kind = "ordinal"', "kind"),
        ("class", "focal_gamma = 0.0", "focal_gamma"),
        ("class", "pos_weight = [1.0, 2.0]", "pos_weight"),
        ("class", 'reduction = "mean"', "reduction"),
        ("class", 'kind = "focal"\nreduction = "mean"', "reduction"),
        ("class", 'kind = "focal"\nlabel_smoothing = 0.1', "label_smoothing"),
        ("soft-label", 'kind = "focal"', "kind"),
        ("multi-label", "class_weights = [1.0, 2.0]", "class_weights"),
        ("multi-label", "pos_weight = [0.0, 2.0]", "pos_weight"),
        ("ordinal", 'ordinal_kind = "corn"', "ordinal_kind"),
        ("ordinal", 'kind = "squared"\nlabel_smoothing = 0.1', "label_smoothing"),
    ],
)
def test_contradictions_of_loss_and_target_are_refused(target, text, where):
    section = read_loss(text)
    assert [problem.where for problem in section.find_contradictions(target)] == [f"[loss] {where}"]
    with pytest.raises(InputError) as caught:
        section.build([0, 1], 2, target)
    assert caught.value.where == f"[loss] {where}"


def test_balanced_weights_need_class_numbers():
    section = TrainingLoss(class_weights="balanced")
    with pytest.raises(InputError, match="balanced"):
        section.build([(0.5, 0.5)], 2, "soft-label")


def test_settings_that_are_not_set_leave_the_name_of_a_run():
    old = {"label_smoothing": 0.0, "class_weights": None}
    assert TrainingLoss().example_settings == old
    assert TrainingLoss(kind="cross-entropy").example_settings == old
    focal = TrainingLoss(kind="focal", focal_gamma=0.0)
    assert focal.example_settings == old | {"kind": "focal", "focal_gamma": 0.0}


def test_a_study_of_classes_refuses_other_losses(tmp_path):
    text = insert_loss('kind = "squared"', "huber_delta = 2")
    with pytest.raises(StudyError, match=r"\[loss\] kind"):
        load_study(write_changed(tmp_path, text))
    study = load_study(write_changed(tmp_path, insert_loss('kind = "focal"')))
    assert study.loss.build([0, 1], 2) == FocalLoss(2.0)
    assert study.loss_settings["loss"] == {**TrainingLoss().example_settings, "kind": "focal"}
    with pytest.raises(StudyError, match="pos_weight"):
        load_study(write_changed(tmp_path, insert_loss("pos_weight = {pos = 2.5, other = 1}")))


@pytest.mark.parametrize(
    ("target", "kind", "measure", "is_refused"),
    [
        ("ordinal", "ordinal", "margin", True),
        ("ordinal", "ordinal", "entropy", True),
        ("ordinal", "ordinal", "log-probability", False),
        ("ordinal", "squared", "log-probability", True),
        ("ordinal", "huber", "margin", True),
        ("ordinal", "focal", "margin", False),
        ("multi-label", "binary", "entropy", True),
        ("multi-label", "binary", "log-probability", False),
        ("class", "focal", "entropy", False),
    ],
)
def test_a_measure_that_the_outputs_have_not_is_refused(
    tmp_path, target, kind, measure, is_refused
):
    top = ('name = "mood"\n', f'name = "mood"\ntarget = "{target}"\n')
    queries = ('table = "queries.csv"\n', f'table = "queries.csv"\nmeasure = "{measure}"\n')
    path = write_changed(tmp_path, top, queries, insert_loss(f'kind = "{kind}"'))
    if not is_refused:
        assert load_study(path).queries.measure == measure
        return
    with pytest.raises(StudyError, match=r"\[queries\] measure"):
        load_study(path)
