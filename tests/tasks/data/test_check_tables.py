"""A study that contradicts its tables is refused."""

from pathlib import Path

import pytest

from tasks.data.dataset import Table, read_table
from tasks.data.table_checks import check_tables
from tasks.study.errors import StudyError
from tasks.study.index_sections import SketchSection
from tasks.study.study import load_study

NLI = Path(__file__).parents[3] / "examples" / "nli" / "study.toml"


def test_example_tables_fit_their_study():
    study = load_study(NLI)
    train = read_table(study.train, study.labels, study.folder, "train")
    queries = read_table(study.queries, study.labels, study.folder, "queries")
    check_tables(study, train, queries)
    assert (len(train), sum(train.labels)) == (3500, 1750)
    assert len(queries) == 300
    suites = queries.groups["suite"]
    assert (suites.count("hans"), suites.count("mnli")) == (150, 150)
    subcases = [name for name in queries.groups["subcase"] if name is not None]
    assert len(set(subcases)) == 30
    assert all(subcases.count(name) == 5 for name in subcases)
    assert "taxinli" not in train.groups["source"]
    assert train.text_pairs is not None
    assert queries.text_pairs is not None
    assert not set(zip(train.texts, train.text_pairs, strict=True)) & set(
        zip(queries.texts, queries.text_pairs, strict=True)
    )


@pytest.fixture
def small():
    """The study of the example with three training rows of two labels."""
    study = load_study(NLI).model_copy(update={"candidates": SketchSection(k=200, dimensions=512)})
    table = Table(["1", "2", "3"], list("abc"), list("def"), [0, 1, 1], {}, "", "train.csv")
    return study, table


def test_sizes_above_the_number_of_rows(small):
    study, table = small
    with pytest.raises(StudyError) as caught:
        check_tables(study, table, table)
    k, rows = caught.value.problems
    assert (k.where, k.got) == ("[candidates] k", "200")
    assert "1 to 3" in k.expected
    assert "full" in k.remedy
    assert (rows.where, rows.got) == ("[curvature] rows", "512")
    assert "train.csv" in rows.expected
    assert str(NLI) in str(caught.value)


def set_candidates(study, **candidates):
    parts = {
        "candidates": {"kind": "knn", "k": 3} | candidates,
        "curvature": {"damping": 0.1},
    }
    return type(study).model_validate(study.model_dump(mode="json") | parts)


def test_sizes_up_to_the_number_of_rows(small):
    study, table = small
    check_tables(set_candidates(study), table, table)
    with pytest.raises(StudyError, match=r"1 to 3.*\n.*4"):
        check_tables(set_candidates(study, k=4), table, table)
    full = study.model_dump(mode="json") | {
        "candidates": {"kind": "full", "keep": 99},
        "curvature": {"damping": 0.1, "rows": 3},
    }
    check_tables(type(study).model_validate(full), table, table)


def test_training_rows_of_one_class(small):
    study, table = small
    with pytest.raises(StudyError, match="2 or more different labels") as caught:
        check_tables(set_candidates(study), table.with_labels([1, 1, 1]), table)
    assert '"non-entailment" in all 3 rows' in str(caught.value)
