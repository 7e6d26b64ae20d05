"""The text of a small study, of which only the file is needed: no tables, no model."""

from pathlib import Path

STUDY = """name = "{name}"
labels = ["a", "b"]
[model]
path = "model"
max_length = 8
[train]
table = "train.csv"
text = "text"
label = "label"
[queries]
table = "queries.csv"
text = "text"
label = "label"
[curvature]
damping = 0.1
[candidates]
kind = "full"
[store]
path = "store"
"""


def write(folder: Path, name: str, file: str = "study.toml") -> Path:
    """Write the study into a folder; the path of the file."""
    path = folder / file
    path.write_text(STUDY.format(name=name))
    return path
