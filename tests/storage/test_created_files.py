"""Several files of one folder, which are created together or not at all."""

import os

import pytest

from storage import StoreError
from storage.atomic import create_files


def write(folder):
    (folder / "a").write_text("new a")
    (folder / "b").write_text("new b")


def test_all_files_are_created(tmp_path):
    assert create_files(tmp_path / "x" / "y", ["a", "b"], write) == ""
    assert {p.name: p.read_text() for p in (tmp_path / "x" / "y").iterdir()} == {
        "a": "new a",
        "b": "new b",
    }


@pytest.mark.parametrize("existing", ["a", "b"])
def test_an_existing_file_is_kept_and_named(tmp_path, existing):
    (tmp_path / existing).write_text("other")
    assert create_files(tmp_path, ["a", "b"], write) == existing
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {existing: "other"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_an_error_between_two_files_removes_the_first(tmp_path, monkeypatch, error):
    link = os.link

    def fail(source, target):
        if target.name == "b":
            raise error
        link(source, target)

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(StoreError if error is OSError else error):
        create_files(tmp_path, ["a", "b"], write)
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_writer_leaves_nothing(tmp_path):
    def fail(folder):
        write(folder)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        create_files(tmp_path, ["a", "b"], fail)
    assert not list(tmp_path.iterdir())
