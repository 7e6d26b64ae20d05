"""New study files: refused before any work where they cannot be written, with a fitting remedy."""

import errno
import os
from pathlib import Path

import pytest

from tasks.study.errors import StudyError
from tasks.study.new_study import check_new_file, write_new_file


def remedy(function, *args) -> str:
    """Remedy of the only problem of a refused file."""
    with pytest.raises(StudyError) as caught:
        function(*args)
    (problem,) = caught.value.problems
    return problem.remedy


@pytest.mark.parametrize("function", [check_new_file, lambda path: write_new_file(path, "text")])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, function, monkeypatch):
    missing = tmp_path / "no folder" / "study.toml"
    assert f"mkdir -p '{missing.parent}'" in remedy(function, missing)
    (tmp_path / "file").touch()
    assert "--out FOLDER" in remedy(function, tmp_path / "file" / "study.toml")
    assert "--out FOLDER" in remedy(function, tmp_path / ("x" * 300))
    assert "--out" in remedy(function, tmp_path / "file")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if not os.access(closed, os.W_OK):
        assert "--out FOLDER" in remedy(function, closed / "study.toml")
    if function is check_new_file:
        assert check_new_file(tmp_path / "new.toml") is None
        monkeypatch.setattr(os, "access", lambda *_: False)  # as on a read-only disk, also as root
        assert "--out FOLDER" in remedy(function, tmp_path / "new.toml")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch, code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_text", fail)
    assert "free space" in remedy(write_new_file, tmp_path / "study.toml", "text")
    assert [*tmp_path.iterdir()] == []
