"""Studies of boosted trees: what has no meaning for trees is refused by name."""

import polars as pl
import pytest
from tree_worlds import make_audit_world, write_table, write_tree_study
from typer.testing import CliRunner

from fastif import InputError
from flows.cli.app import app
from tasks.run.spec import plan_run
from tasks.study.study import StudyError, load_study

MODEL = {"path": "model.txt", "max_length": None}
STATED = {
    "[parameters]": {"parameters": {"attributed": "all"}},
    "[loss]": {"loss": {"kind": "squared"}},
    "[curvature]": {"curvature": {"damping": 0.1}},
    "[solver]": {"solver": {"kind": "cg"}},
    "[certificate]": {"certificate": {"rows": 5}},
    "[carry]": {"carry": {"least": 0.9}},
    "[estimator]": {"estimator": {"power": 0}},
    "[training]": {"training": {"base": "base"}},
    "[candidates] kind": {"candidates": {"kind": "sketch", "k": 5}},
    "[candidates] rank": {"candidates": {"kind": "full", "rank": 2}},
    "[run] precision": {"run": {"precision": "bf16"}},
    "[run] memory_gb": {"run": {"memory_gb": 2.0}},
    "[run] budget": {"run": {"budget": "20min"}},
    "[run] devices": {"run": {"devices": ["cuda:0"]}},
    "[model] max_length": {"model": {"path": "model.txt", "max_length": 16}},
    "[model] output": {"model": {**MODEL, "output": 1}},
    "[notify] residual_above": {"notify": {"residual_above": 0.1}},
    "[report] residual_above": {"report": {"residual_above": 0.1}},
    "[trees] method": {"trees": {"method": "shap"}},
    "[trees] subsample": {"trees": {"subsample": 0.0}},
}


@pytest.mark.parametrize("place", STATED)
def test_sections_without_a_meaning_for_trees_are_refused(place, tmp_path):
    study = write_tree_study(tmp_path, **{"model": MODEL, **STATED[place]})
    with pytest.raises(StudyError) as caught:
        load_study(study)
    assert place in [problem.where for problem in caught.value.problems]


def test_further_models_are_refused(tmp_path):
    study = write_tree_study(tmp_path, model=MODEL)
    study.write_text('models = ["other.txt"]\n' + study.read_text())
    with pytest.raises(StudyError, match="the trees of one file"):
        load_study(study)


@pytest.mark.parametrize("target", ["ordinal", "multi-label", "soft-label"])
def test_other_targets_are_refused(tmp_path, target):
    study = write_tree_study(tmp_path, model=MODEL)
    study.write_text(study.read_text().replace('target = "class"', f'target = "{target}"'))
    with pytest.raises(StudyError) as caught:
        load_study(study)
    assert "target" in [problem.where for problem in caught.value.problems]


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.bin", "model.cbm"])
def test_files_that_are_not_read_are_named(tmp_path, name):
    study = write_tree_study(tmp_path, model={"path": name, "max_length": None})
    with pytest.raises(StudyError, match="no pickle and no binary file is read"):
        load_study(study)


def test_the_section_of_trees_needs_trees(tmp_path):
    study = write_tree_study(
        tmp_path,
        model={"path": "model", "max_length": None},
        curvature={"damping": 1.0},
        candidates={"kind": "full"},
        trees={"method": "boostin"},
    )
    with pytest.raises(StudyError) as caught:
        load_study(study)
    assert "[trees]" in [problem.where for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("model.json", '{"architectures": ["Bert"]}', "another JSON"),
        ("model.json", "{", "LightGBM"),
        ("model.txt", "hello\n", "another format"),
        ("model.ubj", "x", "another format"),
        ("model.txt", "tree\nversion=v4\n", "LightGBM"),
    ],
)
def test_files_of_something_else_are_refused_in_words(tmp_path, name, content, word):
    write_table(tmp_path / "train.parquet", 30, 0, "class")
    write_table(tmp_path / "queries.parquet", 4, 1, "class")
    (tmp_path / name).write_text(content)
    study = write_tree_study(tmp_path, model={"path": name, "max_length": None})
    answer = CliRunner().invoke(app, ["audit", "--dry-run", str(study)])
    output = " ".join(answer.output.split())
    assert answer.exit_code == 2
    assert word in output
    assert "Traceback" not in output
    assert "bug" not in output


def test_a_missing_file_is_named(tmp_path):
    write_table(tmp_path / "train.parquet", 30, 0, "class")
    write_table(tmp_path / "queries.parquet", 4, 1, "class")
    with pytest.raises(InputError, match="no such file"):
        plan_run(write_tree_study(tmp_path, model=MODEL))
    (tmp_path / "model.txt").mkdir()
    with pytest.raises(InputError, match="a folder"):
        plan_run(write_tree_study(tmp_path, model=MODEL))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_audit_world(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize(
    "words",
    [
        ["train"],
        ["flip", "queries-0"],
        ["serve"],
        ["audit", "--budget", "20min"],
        ["urgent", "queries-0", "--repeats", "4"],
        ["correct", "--anchors", "queries.parquet", "--out", "corrected"],
    ],
)
def test_commands_without_a_meaning_for_trees_are_refused(world, words):
    name, *rest = words
    answer = CliRunner().invoke(app, [name, *rest, str(world)])
    output = " ".join(answer.output.split())
    assert answer.exit_code == 2, output
    assert "boosted trees" in output
    assert not (world.parent / "store").exists()


CHANGES = {
    "a row gone": lambda rows: rows.head(119),
    "a row added": lambda rows: pl.concat([rows, rows.head(1).with_columns(id=pl.lit("new"))]),
    "a label changed": lambda rows: rows.with_columns(
        label=pl.when(pl.int_range(120) == 3)
        .then(pl.when(pl.col("label") == "yes").then(pl.lit("no")).otherwise(pl.lit("yes")))
        .otherwise(pl.col("label"))
    ),
    "a weight changed": lambda rows: rows.with_columns(
        weight=pl.when(pl.int_range(120) == 3).then(9.0).otherwise(pl.col("weight"))
    ),
    "labels exchanged": lambda rows: rows.with_columns(
        label=pl.col("label").replace({"yes": "no", "no": "yes"})
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_rows_that_the_model_was_not_trained_on_are_refused(world, tmp_path, name):
    for path in world.parent.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    rows = pl.read_parquet(tmp_path / "train.parquet")
    CHANGES[name](rows).write_parquet(tmp_path / "train.parquet")
    answer = CliRunner().invoke(app, ["audit", "--dry-run", str(tmp_path / world.name)])
    output = " ".join(answer.output.split())
    assert answer.exit_code == 2
    assert "leaf values that differ" in output
    assert "train the model again" in output


def test_lists_of_numbers_are_refused(world, tmp_path):
    for path in world.parent.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    for name in ("train", "queries"):
        rows = pl.read_parquet(tmp_path / f"{name}.parquet")
        lists = rows.with_columns(income=pl.concat_list("income", "income"))
        lists.write_parquet(tmp_path / f"{name}.parquet")
    answer = CliRunner().invoke(app, ["audit", "--dry-run", str(tmp_path / world.name)])
    output = " ".join(answer.output.split())
    assert answer.exit_code == 2
    assert "a column of its own" in output


def test_fastif_trees_takes_the_model_of_the_study(world, tmp_path):
    out = tmp_path / "effects.parquet"
    answer = CliRunner().invoke(app, ["trees", "--out", str(out), "--keep", "200", str(world)])
    assert answer.exit_code == 0, answer.output
    assert len(pl.read_parquet(out)) == 8 * 120
