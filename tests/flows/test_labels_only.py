"""Studies of labels alone: texts, columns of a table, images, without a model or an audit."""

import io
import json
import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tiny
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.metrics import average_precision_score
from typer.testing import CliRunner

from flows.cli.app import app
from tasks.mislabels.results import read_latest_result
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def write_study(
    folder: Path, frame: pl.DataFrame, labels: list[str], more: str = "", **keys
) -> Path:
    frame.write_parquet(folder / "rows.parquet")
    keys = {"table": "rows.parquet", "label": "label", "id": "id", **keys}
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    head = ['name = "alone"', f"labels = {json.dumps(labels)}", "[train]", *lines]
    path = folder / "study.toml"
    path.write_text("\n".join([*head, "[store]", 'path = "store"', more]) + "\n")
    return path


def flip_labels(labels: list[str], names: list[str], share: float) -> tuple[list[str], np.ndarray]:
    """Flip a share of labels; return the labels and the mask of flips."""
    draw = random.Random(1)
    wrong = np.zeros(len(labels), bool)
    wrong[draw.sample(range(len(labels)), round(share * len(labels)))] = True
    others = {name: [n for n in names if n != name] for name in names}
    pairs = zip(labels, wrong, strict=True)
    return [draw.choice(others[y]) if w else y for y, w in pairs], wrong


def run_search(study: Path) -> pl.DataFrame:
    done = run("mislabels", study)
    assert done.exit_code == 0, done.output
    return read_latest_result(open_existing_store(load_study(study))).table


@pytest.fixture
def cancer(tmp_path) -> tuple[Path, np.ndarray]:
    """The breast cancer data (569 tumours) with flipped labels, and the mask of flips."""
    data = load_breast_cancer()
    names = ["malignant", "benign"]
    labels, wrong = flip_labels([names[i] for i in data.target], names, 0.1)
    columns = {name: data.data[:, i] for i, name in enumerate(data.feature_names)}
    frame = pl.DataFrame({"id": [f"t{i}" for i in range(569)], "label": labels, **columns})
    return write_study(tmp_path, frame, names, features=list(columns)), wrong


@pytest.mark.long
def test_columns_of_a_table_are_searched_and_reviewed(cancer, tmp_path):
    study, wrong = cancer
    assert "nearest neighbours" in " ".join(run("mislabels", study, "--dry-run").output.split())
    assert not (tmp_path / "store").exists()
    ranking = run_search(study)
    assert average_precision_score(wrong, ranking["probability"].to_numpy()) > 0.9
    assert ranking["text"][0].startswith("mean radius=17.99, mean texture=10.38")
    out = tmp_path / "review.csv"
    assert run("review", "export", "--study", study, "--out", out).exit_code == 0
    rows = pl.read_csv(out, infer_schema=False).with_columns(right_label="suggested")
    rows.head(5).write_csv(out)
    assert run("review", "import", out, "--study", study).exit_code == 0
    assert run_search(study).filter(pl.col("reviewed").is_not_null()).height == 5
    assert "in the store already" in run("mislabels", study, "--dry-run").output


@pytest.mark.long
def test_trusted_rows_of_a_table_are_learned_from(cancer, tmp_path):
    study, wrong = cancer
    rows = pl.read_parquet(tmp_path / "rows.parquet")
    kept = pl.Series(~wrong) & (pl.Series(range(569)) % 4 == 0)
    rows.filter(kept).write_parquet(tmp_path / "sure.parquet")
    rows.filter(~kept).write_parquet(tmp_path / "rows.parquet")
    columns = json.dumps([c for c in rows.columns if c not in ("id", "label")])
    queries = f'[queries]\ntable = "sure.parquet"\nfeatures = {columns}\nlabel = "label"\n'
    study.write_text(f"{study.read_text()}{queries}trusted = true\n")
    ranking = run_search(study)
    assert ranking["trusted_loss"].null_count() == 0
    assert average_precision_score(wrong[~kept.to_numpy()], ranking["probability"].to_numpy()) > 0.9


@pytest.mark.long
def test_what_cleaning_a_table_is_worth_is_measured_on_its_queries(tmp_path):
    data = load_digits()
    names = [str(i) for i in range(10)]
    labels, _ = flip_labels([names[i] for i in data.target[:900]], names, 0.4)
    rows = pl.DataFrame({"id": range(900), "label": labels, "pixels": data.data[:900].tolist()})
    right = [names[i] for i in data.target[900:1500]]
    query_table = pl.DataFrame({"label": right, "pixels": data.data[900:1500].tolist()})
    query_table.write_parquet(tmp_path / "asked.parquet")
    budget = "[mislabels]\nbudget = 360\n"
    study = write_study(tmp_path, rows, names, budget, features=["pixels"])
    done = run("mislabels", study, "--validate", 3)
    assert done.exit_code == 2
    assert "[queries]" in done.output
    queries = '[queries]\ntable = "asked.parquet"\nfeatures = ["pixels"]\nlabel = "label"\n'
    study.write_text(study.read_text() + queries)
    done = run("mislabels", study, "--validate", 3)
    words = " ".join(done.output.replace("│", " ").split())
    assert done.exit_code == 0, done.output
    assert "3 trainings of a linear head on frozen features per strategy; accuracy on 600" in words
    assert "Cleaning helps" in words


@pytest.mark.long
def test_images_are_searched(tmp_path):
    data = load_digits()
    names = [str(i) for i in range(10)]
    labels, wrong = flip_labels([names[i] for i in data.target[:600]], names, 0.1)
    files = []
    for pixels in data.images[:600]:
        Image.fromarray((pixels * 15).astype(np.uint8)).save(file := io.BytesIO(), "PNG")
        files.append(file.getvalue())
    frame = pl.DataFrame({"id": range(600), "label": labels, "image": files})
    ranking = run_search(write_study(tmp_path, frame, names, image="image"))
    assert average_precision_score(wrong, ranking["probability"].to_numpy()) > 0.9


@pytest.mark.long
def test_the_order_of_a_tables_rows_does_not_matter(cancer, tmp_path):
    study, _ = cancer
    first = run_search(study).sort("id")
    rows = pl.read_parquet(tmp_path / "rows.parquet")
    rows.sample(fraction=1, shuffle=True, seed=3).write_parquet(tmp_path / "rows.parquet")
    again = run_search(study).sort("id")
    assert first["probability"].to_list() == again["probability"].to_list()
    assert first["rank"].to_list() == again["rank"].to_list()


def test_texts_need_an_encoder_and_no_model(world):
    rows = pl.read_csv(world / "train.csv")
    study = write_study(
        world, rows.with_columns(id=pl.col("id").cast(pl.String)), tiny.LABELS, text="text"
    )
    done = run("mislabels", study)
    assert done.exit_code == 2
    assert "[mislabels] encoder" in done.output
    study.write_text(f'{study.read_text()}[mislabels]\nencoder = "base"\n')
    assert len(run_search(study)) == tiny.TRAIN


@pytest.mark.parametrize("command", ["audit", "train", "urgent"])
def test_what_needs_a_model_is_refused(cancer, command):
    study, _ = cancer
    done = run(command, *(["t1", "--study", study] if command == "urgent" else [study]))
    assert done.exit_code == 2
    assert "supports only `fastif mislabels`" in " ".join(done.output.split())


def test_the_template_becomes_a_study(tmp_path):
    path = tmp_path / "s.toml"
    done = run("init", path, "--labels")
    assert "fastif mislabels" in " ".join(done.output.split())
    study = load_study(path)
    assert not study.has_audit
    assert not study.has_queries


@pytest.mark.long
def test_rows_added_after_sampling_are_reported_and_not_in_the_estimate(tmp_path):
    """60 of 120 rows with 10 % wrong labels are sampled; then 80 with half wrong are added."""
    random = np.random.default_rng(0)
    names, truth = ["no", "yes"], random.integers(0, 2, 200)
    wrong = random.random(200) < np.where(np.arange(200) < 120, 0.1, 0.5)
    labels = [names[i] for i in np.where(wrong, 1 - truth, truth)]
    frame = pl.DataFrame({"id": range(200), "label": labels, "x": random.normal(size=200)})
    study = write_study(tmp_path, frame.head(120), names, features=["x"])
    run_search(study)
    out = tmp_path / "drawn.csv"
    run("review", "export", "--study", study, "--out", out, "--random", 60)
    rows = pl.read_csv(out, infer_schema=False)
    right = [names[truth[int(i)]] for i in rows["id"]]
    rows.with_columns(right_label=pl.Series(right)).write_csv(out)
    assert run("review", "import", out, "--study", study).exit_code == 0
    frame.write_parquet(tmp_path / "rows.parquet")
    words = " ".join(run("mislabels", study).output.replace("│", " ").split())
    facts = read_latest_result(open_existing_store(load_study(study))).facts
    assert facts["drawn"]["later"] == 80
    assert facts["errors"]["counted"] == 120
    assert facts["errors"]["low"] <= wrong[:120].sum() <= facts["errors"]["high"] < wrong.sum()
    assert "of 120 labels are wrong (90 % interval" in words
    assert "80 rows were added after sampling and are not in the estimate" in words
