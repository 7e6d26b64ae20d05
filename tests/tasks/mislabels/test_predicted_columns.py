"""Columns with predictions: what each kind of cell is read as, and what is refused."""

import numpy as np
import polars as pl
import pytest

from fastif import InputError
from tasks.mislabels.class_positions import decode_positions
from tasks.mislabels.classifier_columns import compute_columns_digest
from tasks.mislabels.classifier_trust import describe_classifiers, warn_classifiers
from tasks.mislabels.predicted_columns import ClassifierColumn, interpret_column
from tasks.mislabels.predicted_probabilities import check_order, interpret_numbers

LABELS = ["cat", "dog", "owl"]
GIVEN = np.arange(60) % 3
NAN = float("nan")


def read(values, labels=LABELS, given=None, **keys):
    given = GIVEN if given is None else given
    cells = values if isinstance(values, pl.Series) else pl.Series(values, strict=False)
    return interpret_column("llm", cells, labels, given[: len(values)], **keys)


def test_labels_are_matched_by_name_and_empty_cells_have_no_prediction():
    column = read(["cat", " Dog ", "", None, "OWL"])
    assert (column.kind, column.predicted.tolist()) == ("labels", [0, 1, -1, -1, 2])
    categories = pl.Series(["owl", "cat", None], dtype=pl.Categorical)
    assert read(categories).predicted.tolist() == [2, 0, -1]


def test_numbers_that_are_names_of_labels_are_labels_and_no_positions():
    labels = ["3", "2", "1"]
    assert read([1, 2, None], labels).predicted.tolist() == [2, 1, -1]
    assert read([3.0, 2.0, NAN], labels).predicted.tolist() == [0, 1, -1]
    assert read(["1.0", "3"], labels).predicted.tolist() == [2, 0]


def test_unknown_labels_are_refused_with_count_and_example():
    with pytest.raises(InputError, match='2 rows with other text: "bird"') as error:
        read(["cat", "bird", "bird", "dog"])
    assert "[mislabels] judges: llm" in str(error.value)
    with pytest.raises(InputError, match="none"):
        read(["cat", "none"])


def test_positions_are_accepted_only_if_they_agree_with_the_given_labels():
    assert read(GIVEN).kind == "class positions"
    assert read(GIVEN + 1).predicted.tolist() == GIVEN.tolist()
    assert read(np.where(GIVEN == 0, NAN, GIVEN)).predicted.tolist()[:3] == [-1, 1, 2]
    for ambiguous in (2 - GIVEN, (GIVEN + 1) % 3, np.zeros(60, int), np.arange(60) // 20):
        with pytest.raises(InputError, match="Write names of labels"):
            read(ambiguous)


def test_positions_counted_from_one_without_the_last_class_are_recognized():
    given = np.array([0, 1] * 30)
    assert decode_positions(given + 1.0, given, 3).tolist() == given.tolist()
    assert decode_positions(given + 0.0, given, 3).tolist() == given.tolist()


def test_a_flag_in_a_study_of_two_labels_is_a_score_unless_it_agrees():
    given = np.array([0, 1] * 30)
    labels = ["no spam", "spam"]
    assert read(given, labels, given).kind == "class positions"
    assert read(1 - given, labels, given).kind == "a score"
    flags = pl.Series([bool(i % 2) for i in range(60)])
    assert read(flags.cast(pl.String).replace({"true": "0.7", "false": "0.2"}), labels).kind == (
        "a score"
    )


def test_probabilities_of_one_class_become_log_odds_and_other_scores_standard_scores():
    odds = read([0.5, 0.9, 0.1, None, 1.0]).outputs[:, 0]
    assert np.allclose(odds[:3], [0, np.log(9), -np.log(9)])
    assert np.isnan(odds[3])
    assert odds[4] == pytest.approx(np.log(0.995 / 0.005))
    scores = read([3.5, -1.5, NAN, 1e300]).outputs[:, 0]
    assert np.isfinite(scores[[0, 1, 3]]).all()
    assert read(["0,5", "0,9"], decimal=",").outputs[1, 0] == pytest.approx(np.log(9))


@pytest.mark.parametrize(
    ("values", "words"),
    [([0.5, float("inf")], "infinity in row 2"), ([None, None], "empty"), ([NAN, NAN], "empty")],
)
def test_unusable_numbers_are_refused(values, words):
    with pytest.raises(InputError, match=words):
        read(pl.Series(values, dtype=pl.Float64))


def test_numbers_of_the_classes_are_read_by_their_range_and_sums():
    p = np.array([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5], [NAN] * 3])
    column = interpret_numbers("llm", p)
    assert column.kind == "probabilities of the classes"
    assert np.allclose(column.outputs[0], np.log(p[0]))
    assert column.outputs[1, 0] == pytest.approx(np.log(1e-3))
    assert np.isnan(column.outputs[2]).all()
    percentages = interpret_numbers("llm", 100 * p)
    assert percentages.kind == "percentages of the classes"
    assert np.allclose(percentages.outputs, column.outputs, equal_nan=True)
    with np.errstate(divide="ignore"):
        logs = interpret_numbers("llm", np.log(p))
    assert logs.kind == "log-probabilities of the classes"
    assert np.allclose(logs.outputs, column.outputs, equal_nan=True)


def test_numbers_that_do_not_sum_to_one_are_scores_or_logits():
    scores = interpret_numbers("llm", np.array([[0.9, 0.8, 0.1], [0.2, 0.9, 0.1]]))
    assert scores.kind == "scores from 0 to 1 that do not sum to 1 of the classes"
    assert scores.outputs[0, 0] == pytest.approx(np.log(9))
    logits = interpret_numbers("llm", np.array([[4.0, -1, 0], [0, 9.0, 2]]))
    assert logits.kind == "logits of the classes"
    assert logits.outputs.argmax(1).tolist() == [0, 1]
    huge = interpret_numbers("llm", np.array([[1e300, 0, 0], [0, -1e308, 0]]))
    assert np.isfinite(huge.outputs).all()


def test_rows_with_numbers_for_some_classes_are_refused():
    with pytest.raises(InputError, match="1 rows with numbers for some classes, such as row 2"):
        interpret_numbers("llm", np.array([[0.5, 0.5], [0.5, NAN]]))
    with pytest.raises(InputError, match="infinity in row 1"):
        interpret_numbers("llm", np.array([[0.5, float("inf")], [0.5, 0.5]]))
    with pytest.raises(InputError, match="2 empty rows"):
        interpret_numbers("llm", np.full((2, 3), NAN))


def test_lists_in_the_order_of_other_classes_are_refused():
    p = np.eye(3)[GIVEN] * 0.8 + 0.2 / 3
    check_order(interpret_numbers("llm", p), GIVEN, LABELS)
    with pytest.raises(InputError, match="llm_cat"):
        check_order(interpret_numbers("llm", p[:, ::-1]), GIVEN, LABELS)


def test_the_digest_has_names_kinds_and_values():
    def digest(predicted, name="llm"):
        return compute_columns_digest(
            (ClassifierColumn(name, "labels", predicted=np.array(predicted)),)
        )

    assert len({digest([0, 1]), digest([1, 0]), digest([0, -1]), digest([0, 1], "rule")}) == 4
    assert digest([0, 1]) == digest([0, 1])
    assert compute_columns_digest(()) is None


def test_each_classifier_has_a_line_and_a_copier_a_warning():
    trust = {"name": "llm", "kind": "labels", "rows": 90, "agreement": 0.8, "accuracy": 0.9,
             "pseudo_r2": 0.5, "copying": 0.0, "weight": 0.97, "rising": None,
             "falling": None, "label_slope": None}  # fmt: skip
    copier = trust | {"name": "own", "copying": 0.98, "agreement": 0.998, "weight": 1.0}
    nothing = trust | {"name": "dice", "weight": 0.0}
    rating = trust | {"name": "rating", "kind": "a score", "label_slope": -1.5}
    facts = {"rows": 100, "classifiers": [trust, copier, nothing, rating]}
    lines = describe_classifiers(facts)
    assert lines[0].startswith("llm: labels, 90 of 100 rows; agrees with the given label in 80.0%")
    assert lines[0].endswith("weight 0.97")
    assert lines[1].endswith("weight 0.02")
    assert lines[2] == "dice: labels, 90 of 100 rows; explains nothing of the labels, weight 0"
    assert "a score of the given label, 90 of 100 rows, higher for wrong labels" in lines[3]
    (warning,) = warn_classifiers(facts)
    assert "own agrees with the given label on 99.8%" in warning
    assert describe_classifiers({}) == []
