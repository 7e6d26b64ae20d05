"""Studies opened for lookups in a notebook: forms of queries, display, data frame."""

import polars as pl
import pytest
import tiny

import fastif
from fastif import InputError
from tasks.notebook.open_study import OpenStudy
from tasks.service.query_rows import name_texts
from tasks.study.errors import StudyError

TEXT = "the plot was fine"


@pytest.fixture
def opened(engine):
    return OpenStudy(engine)


def test_a_study_is_opened_by_its_path(sketched, opened):
    study = fastif.open(str(sketched / "study.toml"))
    assert repr(study) == repr(opened)
    assert study.explain(TEXT).to_polars().equals(opened.explain(TEXT).to_polars())


def test_every_form_of_a_query_has_the_same_explanation(opened):
    expected = opened.explain([TEXT], ["pos"]).to_polars()
    frame = pl.DataFrame({"text": [TEXT], "label": ["pos"], "other": [1]})
    row = {"text": TEXT, "label": "pos"}
    for queries in (row, [row], frame, frame.lazy()):
        assert opened.explain(queries).to_polars().equals(expected)
    assert opened.explain(TEXT, "pos").to_polars().equals(expected)


def test_the_data_frame_has_the_rows_of_the_engine(opened, engine):
    texts = [row["text"] for row in tiny.rows_of(engine.study.folder / "queries.csv")[:3]]
    frame = opened.explain(texts, k=4, neighbours=2).to_polars()
    answers = engine.explain(engine.read_rows(name_texts(engine.study, texts)))
    assert frame["query"].unique().to_list() == [0, 1, 2]
    assert (frame.filter(kind="neighbour")["cosine"].len(), set(frame["unit"])) == (6, {"nats"})
    for query, answer in enumerate(answers):
        rows = frame.filter(query=query, kind="helpful").sort("rank")
        assert rows["train_id"].to_list() == [row.id for row in answer.helpful[:4]]
        assert rows["removal_effect"].to_list() == pytest.approx(
            [row.effect for row in answer.helpful[:4]], rel=1e-4
        )


def test_the_display_escapes_texts_and_names_the_sign(opened):
    page = opened.explain(["<script>alert(1)</script> fine", TEXT])._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; fine" in page
    assert "Above 0: without the row the log probability of the predicted label would fall" in page
    assert "The search returns 100.0%" in page
    assert page.count("<section>") == 2


def test_control_characters_do_not_reach_a_terminal(opened):
    assert "\x1b" not in repr(opened.explain("the \x1b[31m plot"))
    assert repr(opened.explain(TEXT)).startswith("predicted pos with probability 0.")


@pytest.mark.parametrize(
    ("queries", "label", "words"),
    [
        (3, None, "a list of dicts"),
        ([], None, "a text or more"),
        ("", None, "an empty text in row 1"),
        ([TEXT, None], None, "got null"),
        ({"words": TEXT}, None, 'a column "text"'),
        ({"text": TEXT}, "pos", "Put the label into the rows"),
        (TEXT, "maybe", 'one of "neg", "pos"'),
        ("a\0b", None, "without NUL"),
    ],
)
def test_other_queries_are_refused(opened, queries, label, words):
    with pytest.raises((InputError, StudyError)) as caught:
        opened.explain(queries, label)
    assert words in str(caught.value)
