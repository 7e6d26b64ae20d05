"""`fastif init --target`: studies of other targets, of columns that are named or clear."""

import json

import polars as pl
import pytest
from command_line import run
from target_worlds import TAGS, WORLDS, make_world

from tasks.data.inputs import read_inputs
from tasks.onboarding.target_columns import read_names
from tasks.run.spec import plan_run
from tasks.study.target_kind import ALL_TARGETS

ROWS = 24
TEXTS = [f"the {word} film number {i} was good" for i, word in enumerate(["long", "short"] * 12)]


def _columns(kind):
    halves = [i % 2 for i in range(ROWS)]
    return {
        "lists": {"tags": [["warm"] if i % 2 else ["cold", "warm"] for i in range(ROWS)]},
        "names": {"tags": ["warm" if i % 2 else "cold; warm" for i in range(ROWS)]},
        "flags": {"warm": halves, "cold": [1 - h for h in halves]},
        "number": {"price": [1.5 * i for i in range(ROWS)], "other": [f"x{i % 3}" for i in halves]},
        "ordinal": {"stars": [1 + i % 5 for i in range(ROWS)]},
        "shares": {"no": [0.25] * 12 + [1.0] * 12, "yes": [0.75] * 12 + [0.0] * 12},
    }[kind]


def _init(folder, kind, *words, suffix="parquet"):
    path = folder / f"rows.{suffix}"
    frame = pl.DataFrame({"text": TEXTS, **_columns(kind)})
    (frame.write_parquet if suffix == "parquet" else frame.write_csv)(path)
    out = folder / "study.toml"
    arguments = ("init", str(path), *words, "--yes", "--out", str(out))
    return (*run(*arguments), out)


@pytest.mark.parametrize(
    ("kind", "target", "suffix", "labels", "columns"),
    [
        ("lists", "multi-label", "parquet", ("cold", "warm"), ("tags",)),
        ("names", "multi-label", "csv", ("cold", "warm"), ("tags",)),
        ("flags", "multi-label", "csv", ("warm", "cold"), ("warm", "cold")),
        ("number", "number", "csv", ("price",), ("price",)),
        ("ordinal", "ordinal", "csv", ("1", "2", "3", "4", "5"), ("stars",)),
    ],
)
def test_a_study_of_labels_is_written_and_its_guesses_are_marked(
    tmp_path, kind, target, suffix, labels, columns
):
    code, out, message, path = _init(tmp_path, kind, "--target", target, suffix=suffix)
    assert code == 0, message
    study = read_inputs(path, kinds=ALL_TARGETS).study
    assert (study.target, study.labels) == (target, labels)
    assert (study.train.target_columns, study.train.text) == (columns, ("text",))
    assert "<- check" in path.read_text("utf-8")
    assert "Next: fastif mislabels" in out.replace("\n", " ")


def test_columns_and_order_that_are_named_need_no_check(tmp_path):
    words = ("--label", "stars", *(w for i in (5, 4, 3, 2, 1) for w in ("--labels-order", str(i))))
    code, _, message, path = _init(tmp_path, "ordinal", "--target", "ordinal", *words)
    assert code == 0, message
    assert read_inputs(path, kinds=ALL_TARGETS).study.labels == ("5", "4", "3", "2", "1")
    text = path.read_text("utf-8")
    assert "write the labels" not in text
    assert "chosen by its contents" not in text


@pytest.mark.parametrize(
    ("kind", "words", "fragments"),
    [
        ("lists", (), ["--target multi-label --label tags"]),
        ("shares", ("--target", "multi-label"), ["clearly the target", "--label COLUMN"]),
        ("ordinal", ("--target", "rank"), ["--target", "multi-label", '"rank"']),
        ("lists", ("--target", "number"), ["clearly the target"]),
    ],
)
def test_what_is_not_clear_is_refused_with_the_options(tmp_path, kind, words, fragments):
    code, _, message, path = _init(tmp_path, kind, *words)
    assert code == 2
    assert not path.exists()
    for fragment in fragments:
        assert fragment in " ".join(message.split())


def test_tagged_sentences_are_recognised(tmp_path):
    tokens = [["the", "film"], ["a", "good", "plot"]] * 6
    tags = [["O", "B-X"], ["O", "O", "B-X"]] * 6
    pl.DataFrame({"tokens": tokens, "ner_tags": tags}).write_parquet(tmp_path / "rows.parquet")
    for words in ((), ("--target", "multi-label")):
        code, _, message = run("init", str(tmp_path / "rows.parquet"), *words, "--yes")
        assert code == 2
        assert "fastif spans find" in " ".join(message.split())
        assert '"tags"' in message


@pytest.mark.parametrize("name", ["multi-label", "soft-label", "ordinal", "number"])
def test_a_study_with_a_model_can_be_audited(tmp_path, name):
    folder, world = tmp_path / "made", WORLDS[name]
    make_world(folder, world)
    out = folder / "new.toml"
    order = {"ordinal": ["one", "two", "three", "four"], "multi-label": TAGS}.get(name, [])
    columns = {"soft-label": ["no", "yes"]}.get(name, ["label"])
    words = [w for n in columns for w in ("--label", n)]
    words += [w for n in order for w in ("--labels-order", n)]
    tables = [str(folder / f"{table}.csv") for table in ("train", "queries")]
    arguments = ("--target", name, "--text", "text", *words, "--yes", "--no-forecast")
    code, _, message = run("init", str(folder / "model"), *tables, *arguments, "--out", str(out))
    assert code == 0, message
    study = plan_run(out).inputs.study
    assert study.target == name
    assert study.labels == tuple({"number": ["label"], "soft-label": columns}.get(name, order))
    assert study.loss.kind == {"ordinal": "ordinal"}.get(name)
    assert "its training records no length" in out.read_text("utf-8").replace("\n", " ").replace(
        " " * 40 + "# ", ""
    )


def test_names_of_lists_are_read_and_sentences_are_not():
    assert read_names(pl.Series([json.dumps(["a", "b"]), "[]"])) == ["a", "b"]
    assert (
        read_names(pl.Series(["It was good, but long and rather slow.", "Bad, very bad."])) is None
    )
    assert read_names(pl.Series(["a", "b", "a"])) is None
