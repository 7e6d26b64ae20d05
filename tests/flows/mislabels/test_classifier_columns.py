"""Columns with the predictions of other classifiers, `[mislabels] judges`."""

import pytest
import tiny
from command_line import invoke as run
from noisy_study import BASE, WRONG, run_search, select_flipped

from fastif import InputError
from tasks.mislabels.detection_plan import read_detection_plan
from tasks.study.errors import StudyError


def add_columns(study, make, **mislabels):
    """Rewrite the training table with additional columns, and name them in the study."""
    path = study.parent / "train.csv"
    rows = [{**row, **make(i, row)} for i, row in enumerate(tiny.rows_of(path))]
    tiny.write_rows(path, rows)
    tiny.write_study(study.parent, training=BASE, mislabels={"budget": 20, **mislabels})
    return study


def true_label(i):
    return tiny.LABELS[i % 2 == 0]


@pytest.mark.long
def test_a_column_of_labels_is_used_reported_and_part_of_the_cache_key(noisy):
    before = read_detection_plan(noisy).digest
    make = lambda i, row: {"llm": "" if i % 10 == 9 else true_label(i)}  # noqa: E731
    add_columns(noisy, make, judges=["llm"])
    done = run("mislabels", noisy)
    assert done.exit_code == 0, done.output
    words = " ".join(done.output.replace("│", " ").split())
    assert "classifier llm: labels, 108 of 120 rows; agrees with the given label in 89.8%" in words
    after = read_detection_plan(noisy).digest
    result = run_search(noisy)
    (trust,) = result.facts["classifiers"]
    assert trust["rows"] == 108
    assert trust["agreement"] == pytest.approx(97 / 108)
    assert result.table["judged_loss"].null_count() == 12
    assert select_flipped(result.table)["rank"].max() < WRONG + 1
    add_columns(noisy, lambda i, row: {"llm": row["llm"] if i else "neg"}, judges=["llm"])
    assert len({before, after, read_detection_plan(noisy).digest}) == 3


def test_a_column_that_is_gone_is_refused_by_name(noisy):
    add_columns(noisy, lambda i, row: {"llm": true_label(i)}, judges=["llm", "rule"])
    with pytest.raises(StudyError, match='a column "rule", or columns such as rule_') as error:
        read_detection_plan(noisy)
    assert '"rule"' in str(error.value)
    assert run("mislabels", "--dry-run", noisy).exit_code == 2
    assert "rule" in run("mislabels", noisy).output


@pytest.mark.long
def test_a_column_of_each_class_has_probabilities(noisy):
    names = [f"llm_{label}" for label in tiny.LABELS]
    is_true = lambda i, name: name == f"llm_{true_label(i)}"  # noqa: E731
    make = lambda i, row: {name: 0.9 if is_true(i, name) else 0.1 for name in names}  # noqa: E731
    add_columns(noisy, make, judges=["llm"])
    result = run_search(noisy)
    (trust,) = result.facts["classifiers"]
    assert trust["kind"] == "probabilities of the classes"
    assert trust["agreement"] == pytest.approx(0.9)
    assert select_flipped(result.table)["rank"].max() < WRONG + 1
    rows = [{k: v for k, v in row.items() if k != names[0]} for row in
            tiny.rows_of(noisy.parent / "train.csv")]  # fmt: skip
    tiny.write_rows(noisy.parent / "train.csv", rows)
    with pytest.raises(StudyError, match=f'no column "{names[0]}"'):
        read_detection_plan(noisy)


@pytest.mark.long
@pytest.mark.parametrize("sign", [1, -1])
def test_the_direction_of_a_score_is_calibrated_and_reported(noisy, sign):
    make = lambda i, row: {"score": sign * ((i % 2 == 0) * 3 + i % 7)}  # noqa: E731
    add_columns(noisy, make, judges=["score"])
    (trust,) = run_search(noisy).facts["classifiers"]
    assert trust["kind"] == "a score"
    assert trust["rising"] == tiny.LABELS[sign > 0]
    assert trust["accuracy"] > 0.6


def test_the_label_cannot_be_a_classifier(noisy):
    add_columns(noisy, lambda i, row: {}, judges=["label"])
    with pytest.raises(StudyError, match="the label"):
        read_detection_plan(noisy)


def test_an_unknown_label_is_refused_with_its_rows(noisy):
    make = lambda i, row: {"llm": "unsure" if i < 3 else true_label(i)}  # noqa: E731
    add_columns(noisy, make, judges=["llm"])
    with pytest.raises(InputError, match='3 rows with other text: "unsure"'):
        read_detection_plan(noisy)


@pytest.mark.long
def test_a_copy_of_the_labels_is_reported_and_changes_no_rank(noisy):
    ranks = run_search(noisy).table["rank"]
    add_columns(noisy, lambda i, row: {"copy": row["label"]}, judges=["copy"])
    done = run("mislabels", noisy)
    words = " ".join(done.output.replace("│", " ").split())
    assert "The classifier copy agrees with the given label on 100.0% of its rows" in words
    result = run_search(noisy)
    assert result.facts["classifiers"][0]["copying"] > 0.9
    first = set(result.table["rank"].arg_sort()[:WRONG].to_list())
    assert first == set(ranks.arg_sort()[:WRONG].to_list())


@pytest.mark.long
def test_a_classifier_of_the_study_and_a_column_are_both_used(noisy):
    make = lambda i, row: {"llm": true_label(i)}  # noqa: E731
    add_columns(noisy, make, folds=2)
    alone = run_search(noisy).table
    add_columns(noisy, make, folds=2, judges=["llm"])
    both = run_search(noisy).table
    assert both["judged_loss"].null_count() == 0
    assert (both["judged_loss"] - alone["judged_loss"]).abs().max() > 0.1
    assert select_flipped(both)["rank"].max() < WRONG + 1
