"""`[estimator] through_training`: settings with which it would have no effect are refused."""

import pytest
import tiny

from tasks.study.study import StudyError, load_study

VALID = {
    "curvature": {"damping": "auto"},
    "training": {"base": "base", "trainable": "last:1", "epochs": 4, "learning_rate": 0.01},
    "candidates": {"kind": "full"},
    "estimator": {"through_training": True},
}


def test_it_is_read_with_candidates_of_all_rows(tmp_path):
    study = load_study(tiny.write_study(tmp_path, **VALID))
    assert study.estimator.through_training
    assert study.estimator.is_open
    assert study.estimator.settings["estimator"]["through_training"] is True


def test_it_leaves_no_trace_where_it_is_off(tmp_path):
    """The name of a run without it is that of earlier versions."""
    study = load_study(tiny.write_study(tmp_path, **VALID | {"estimator": {"power": 0.5}}))
    assert study.estimator.settings == {"estimator": {"power": 0.5}}


@pytest.mark.parametrize(
    "changes",
    [
        {"curvature": {"damping": 0.1}},
        {"training": None},
        {"candidates": {"kind": "knn", "k": 6}},
        {"candidates": {"kind": "sketch", "k": 6, "rescore": False, "dimensions": 20}},
        {"top": {"models": ["other"]}},
        {"solver": {"kind": "lissa"}},
    ],
)
def test_settings_without_effect_are_refused(tmp_path, changes):
    with pytest.raises(StudyError, match=r"\[estimator\] through_training"):
        load_study(tiny.write_study(tmp_path, **VALID | changes))
