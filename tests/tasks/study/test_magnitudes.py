"""Every numeric key of a study accepts a representable number, and refuses others by name."""

import dataclasses
import math
from typing import get_args

import pytest
from pydantic import BaseModel

from tasks.study.magnitudes import MAX_FLOAT, MAX_INTEGER
from tasks.study.study import Study, StudyError, load_study

COMMON = """
name = "mood"
labels = ["neg", "pos"]
[model]
path = "m"
[train]
table = "t.csv"
text = "text"
label = "label"
[queries]
table = "q.csv"
text = "text"
label = "label"
[store]
path = "s"
"""
NEEDS = {"training": 'base = "b"', "knn": "k = 5", "sketch": "k = 5"}
VALUES = (
    "1e300",
    "-1e300",
    "1e-300",
    "1e31",
    "inf",
    "-inf",
    "nan",
    "-1",
    "0",
    "0.5",
    "1",
    "1.0",
    f"{2**53}",
    f"{2**53 + 1}",
    f"{2**64}",
    "1" + 400 * "0",
    "1" + 5000 * "0",
    "true",
    '"5"',
    '""',
    "[]",
    "[1]",
    "{}",
    "1979-05-27",
)


def find_leaf_types(annotation) -> set:
    inner = get_args(annotation)
    return set().union(*map(find_leaf_types, inner)) if inner else {annotation}


def records() -> list[tuple[str, str, type]]:
    """Section, kind and record of everything with keys."""
    entries = []
    for section, field in Study.model_fields.items():
        types = [t for t in find_leaf_types(field.annotation) if isinstance(t, type)]
        types.sort(key=lambda record: record.__name__)  # the same in every process
        for record in types:
            if issubclass(record, BaseModel):
                fields = record.model_fields
                kind = fields["kind"].default or "" if "kind" in fields else ""
            elif dataclasses.is_dataclass(record):
                kind = next(f.default for f in dataclasses.fields(record) if f.name == "kind")
            else:
                continue
            entries.append((section, kind, record))
    return entries


def numeric_fields(record: type) -> list[str]:
    if issubclass(record, BaseModel):
        hints = {name: field.annotation for name, field in record.model_fields.items()}
    else:
        hints = {f.name: record.__annotations__[f.name] for f in dataclasses.fields(record)}
    return [name for name, hint in hints.items() if find_leaf_types(hint) & {int, float}]


KEYS = [
    (section, kind, key)
    for section, kind, record in records()
    for key in numeric_fields(record)
    if kind != "union"
]


def write_study(folder, section, kind, key, value):
    sections = {"curvature": "damping = 0.1", "candidates": 'kind = "full"'}
    own = [] if section in ("run", "model") else [NEEDS.get(section, ""), NEEDS.get(kind, "")]
    own += [f'kind = "{kind}"'] if section in ("solver", "candidates") else []
    own = [line for line in own if line and not line.startswith(f"{key} =")]
    own += [f"{key} = {value}"]
    sections[section] = "\n".join(own)
    model = sections.pop("model", None)
    text = COMMON.replace('path = "m"', f'path = "m"\n{model}') if model else COMMON
    text += "\n".join(f"[{name}]\n{lines}" for name, lines in sections.items())
    path = folder / "study.toml"
    path.write_text(text)
    return path


def test_numeric_keys_exist():
    assert len(KEYS) > 50
    assert ("run", "", "memory_gb") in KEYS
    assert ("solver", "cg", "tolerance") in KEYS


@pytest.mark.parametrize("key", KEYS, ids="-".join)
def test_a_number_is_accepted_or_refused_by_its_key(tmp_path, key):
    for value in VALUES:
        path = write_study(tmp_path, *key, value)
        try:
            study = load_study(path)
        except StudyError as error:
            places = [problem.where for problem in error.problems]
            assert any(key[0] in place or key[2] in place or "file" in place for place in places)
            continue
        number = getattr(getattr(study, key[0]), key[2])
        numbers = number if isinstance(number, tuple) else (number,)
        assert all(
            element is None
            or isinstance(element, str)
            or abs(element) <= max(MAX_INTEGER, MAX_FLOAT)
            for element in numbers
        ), value
        assert not any(
            isinstance(element, float) and not math.isfinite(element) for element in numbers
        )


@pytest.mark.parametrize("value", ["1e300", "-1e31", "1e-300", f"{2**53 + 1}", "9" * 4000])
def test_all_problems_are_listed_once(tmp_path, value):
    path = write_study(tmp_path, "run", "", "memory_gb", value)
    path.write_text(path.read_text() + f"\nshard_size = 0\nbatch_tokens = {2**60}\n")
    with pytest.raises(StudyError) as caught:
        load_study(path)
    places = sorted(problem.where for problem in caught.value.problems)
    assert places == ["[run] batch_tokens", "[run] memory_gb", "[run] shard_size"]


def test_deep_nesting_is_no_study(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text("a = " + 5000 * "[" + 5000 * "]")
    with pytest.raises(StudyError, match="valid TOML"):
        load_study(path)
