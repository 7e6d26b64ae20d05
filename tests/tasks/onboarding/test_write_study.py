"""Texts of inferred studies: quoted, named, with paths from their own folder."""

import tomllib
from pathlib import Path

import pytest
from made_tables import make_rows

from fastif import InputError
from tasks.onboarding.describe import list_warnings
from tasks.onboarding.propose import Request, propose_study
from tasks.onboarding.questions import BestGuesses
from tasks.onboarding.study_text import Line, quote_toml
from tasks.onboarding.wishes import Wishes
from tasks.onboarding.write_study import render_proposal
from tasks.runtime.machine_memory import count_memory_bytes
from tasks.study.study import load_study


@pytest.mark.parametrize("text", ['a"b', "C:\\data\\x", "tab\there", "ü ✓\x7f", "new\nline", "'"])
def test_texts_are_quoted_for_toml(text):
    assert tomllib.loads(f"key = {quote_toml(text)}")["key"] == text
    assert tomllib.loads(f"key = {quote_toml([text, 'b'])}")["key"] == [text, "b"]


def test_comments_never_become_part_of_a_value():
    line = Line("text", "a # b", "why\nand when", ("other\nvalue",))
    assert tomllib.loads(line.render()) == {"text": "a # b"}


def test_paths_start_from_the_folder_of_the_study(classifier, tmp_path):
    data = tmp_path / "my däta"
    data.mkdir()
    rows = make_rows(60)
    rows.write_csv(data / 'train "a".csv')
    rows.write_csv(data / "queries.csv")
    request = Request(str(classifier), data / 'train "a".csv', data / "queries.csv")
    proposal = propose_study(request, BestGuesses())
    study = tmp_path / "studies" / "s.toml"
    study.parent.mkdir()
    study.write_text(render_proposal(proposal, study), "utf-8")
    loaded = load_study(study)
    assert loaded.train.table == '../my däta/train "a".csv'
    assert loaded.resolve(loaded.train.table).is_file()
    assert Path(loaded.resolve(loaded.model.path)).samefile(classifier)
    assert loaded.name == "colours"
    half = count_memory_bytes() / 2**31
    assert half - 1 < (loaded.run.memory_gb or half) <= max(2, half)  # none on GPUs
    assert "training rows themselves" in " ".join(list_warnings(proposal))


def test_invalid_names_are_refused_with_a_valid_one(tmp_path):
    make_rows(60).write_csv(tmp_path / "t.csv")
    request = Request(None, tmp_path / "t.csv", None, Wishes())
    proposal = propose_study(request, BestGuesses())
    with pytest.raises(InputError, match="Use --name my-study-1"):
        render_proposal(proposal, tmp_path / "s.toml", "My Study 1")


def test_existing_store_of_another_study_is_not_taken(tmp_path):
    make_rows(60).write_csv(tmp_path / "tickets.csv")
    (tmp_path / "store").mkdir()
    proposal = propose_study(Request(None, tmp_path / "tickets.csv", None), BestGuesses())
    text = render_proposal(proposal, tmp_path / "s.toml")
    assert tomllib.loads(text)["store"]["path"] == "store-tickets"
