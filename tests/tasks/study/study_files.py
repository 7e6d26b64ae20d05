"""A short study file, changes of it, and the error of an invalid one."""

from pathlib import Path

import pytest

from tasks.study.study import StudyError, load_study

VALID = """
name = "mood"
labels = ["neg", "pos"]
[model]
path = "out/model"
[train]
table = "train.csv"
text = "text"
label = "label"
[queries]
table = "queries.csv"
text = "text"
label = "label"
[parameters]
attributed = "last:2"
[curvature]
damping = 0.1
[solver]
kind = "cg"
[candidates]
kind = "knn"
k = 5
[run]
shard_size = 8
[store]
path = "out/store"
"""


def write_file(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


def write_changed(folder: Path, *changes: tuple[str, str]) -> Path:
    text = VALID
    for old, new in changes:
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    return write_file(folder, text)


def refusal(path: Path) -> StudyError:
    """Return the error, after a check that reading wrote no files."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(StudyError) as caught:
        load_study(path)
    assert sorted(path.parent.rglob("*")) == before
    message = str(caught.value)
    assert str(path) in message
    assert "pydantic" not in message
    assert "validation error" not in message
    return caught.value


def insert_loss(*lines: str) -> tuple[str, str]:
    return "[curvature]", "\n".join(["[loss]", *lines, "[curvature]"])
