"""The report and the review of labels use the same rule for near duplicates."""

import handmade_runs
import pytest
from handmade_runs import Row

from tasks.data.dataset import Table
from tasks.data.near_duplicates import group_near_duplicates
from tasks.report.duplicates import Duplicates, find_duplicates
from tasks.report.run_data import RunData, read_run_data
from tasks.report.tfidf_space import TfidfSpace, make_tfidf_space

STORY = "the central bank raised its main interest rate by a quarter on tuesday to slow prices"
WORDS = STORY.split()
TRAIN = [
    (STORY, "a"),
    (STORY.upper() + "!", "b"),
    (STORY.replace("tuesday", "monday"), "a"),
    (" ".join(WORDS[9:] + WORDS[:9]), "a"),
    ("the doctor saw the lawyer", "a"),
    ("the lawyer saw the doctor", "b"),
    ("the film was good", "a"),
    ("the film was not good", "b"),
    (":)", "a"),
    (":(", "b"),
]
QUERIES = [
    (f"{STORY}.", "a"),
    (STORY.replace("quarter", "third"), "a"),
    ("the lawyer saw a doctor", "a"),
    (":|", "a"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[RunData, TfidfSpace, Duplicates]:
    folder = tmp_path_factory.mktemp("data")
    store = handmade_runs.open_store(folder)
    train = [Row(f"t{i}", text, label) for i, (text, label) in enumerate(TRAIN)]
    queries = [Row(f"q{i}", text, label) for i, (text, label) in enumerate(QUERIES)]
    handmade_runs.write_run(store, "one", train, queries)
    data = read_run_data(store, "one", folder / "study.toml")
    space = make_tfidf_space(data)
    return data, space, find_duplicates(data, space)


def test_rows_with_equal_words_in_order_are_duplicates_and_no_others(made):
    _, _, duplicates = made
    assert duplicates.cluster[0] != -1
    assert duplicates.cluster.tolist() == [duplicates.cluster[0]] * 3 + [-1] * 7
    assert (duplicates.exact, duplicates.near) == (1, 3)
    assert (duplicates.conflicting, duplicates.near_conflicting) == (1, 0)


def test_queries_leak_by_the_same_rule(made):
    _, _, duplicates = made
    assert (duplicates.leaked, duplicates.near_leaked) == (1, 1)
    leaks = [(row["id"], row["train_id"], row["exact"]) for row in duplicates.leaks]
    assert [leak[:1] + leak[2:] for leak in leaks] == [("q0", True), ("q1", False)]
    assert {leak[1] for leak in leaks} <= {"t0", "t1", "t2"}


def test_the_search_for_wrong_labels_has_the_same_groups(made):
    data, space, duplicates = made
    texts = data.train["text"].to_list()
    table = Table(data.train["id"].to_list(), texts, None, [0] * len(texts), {}, "", "here")
    groups = group_near_duplicates(table, space.neighbours).tolist()
    alike = [i for i, group in enumerate(groups[:8]) if groups.count(group) > 1]
    assert alike == [i for i, cluster in enumerate(duplicates.cluster[:8]) if cluster != -1]
