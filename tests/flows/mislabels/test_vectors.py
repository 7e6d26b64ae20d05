"""Studies of vectors, such as embeddings: order, precision, trusted rows, and a second night."""

import json

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score
from typer.testing import CliRunner

from flows.cli.app import app
from tasks.data import joined_columns
from tasks.mislabels.results import read_latest_result
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study

ROWS, WIDTH, WRONG = 160, 48, 16
STUDY = """name = "vectors"
labels = ["cat", "dog"]

[train]
table = "rows.parquet"
features = ["embedding", "source"]
label = "label"
id = "id"

[store]
path = "store"
"""


def make_rows(count=ROWS, seed=0):
    """Two Gaussian classes; the labels of the first 16 rows are flipped."""
    generator = np.random.default_rng(seed)
    truth = np.arange(count) % 2
    values = generator.normal(size=(count, WIDTH)) + 0.9 * truth[:, None]
    given = truth ^ (np.arange(count) < WRONG)
    return pl.DataFrame(
        {
            "id": [f"{seed}-{i}" for i in range(count)],
            "embedding": pl.Series(values.tolist(), dtype=pl.List(pl.Float32)),
            "source": generator.choice(["a", "b"], count),
            "label": [["cat", "dog"][y] for y in given],
        }
    )


def split_columns(frame):
    """The same rows with a column for each number."""
    names = [f"x{i}" for i in range(WIDTH)]
    wide = frame.with_columns(pl.col("embedding").list.to_struct(fields=names)).unnest("embedding")
    features = json.dumps([*names, "source"])
    return wide, STUDY.replace('["embedding", "source"]', features)


def rename_vectors(frame):
    """The same rows with the list named as columns that are joined."""
    name = f"x0 to x{WIDTH - 1}"
    return frame.rename({"embedding": name}), STUDY.replace("embedding", name)


def detect(folder, frame, text=STUDY):
    """Run the command on a table in a new or an old store; return rows by id."""
    folder.mkdir(exist_ok=True)
    frame.write_parquet(folder / "rows.parquet")
    (folder / "study.toml").write_text(text)
    run(folder, "mislabels")
    return read_latest_result(open_existing_store(load_study(folder / "study.toml")))


def run(folder, *words):
    done = CliRunner().invoke(app, [*words, "--study", str(folder / "study.toml")])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("vectors")


@pytest.fixture(scope="module")
def first(folder):
    return detect(folder / "first", make_rows()).table


def list_probabilities(table):
    return table.sort("id")["probability"].to_numpy()


def test_flipped_labels_of_vectors_are_ranked_first(first):
    is_wrong = first["train"].to_numpy() < WRONG
    assert average_precision_score(is_wrong, first["probability"]) > 0.9
    assert first["text"][0].startswith(f"embedding=[{WIDTH} numbers, ")


@pytest.mark.long
def test_order_and_precision_of_the_table_have_no_effect(folder, first):
    mixed = make_rows().sample(fraction=1, shuffle=True, seed=1)
    assert (
        list_probabilities(detect(folder / "mixed", mixed).table) == list_probabilities(first)
    ).all()
    double = make_rows().with_columns(pl.col("embedding").cast(pl.List(pl.Float64)))
    same = list_probabilities(detect(folder / "double", double).table)
    assert (same == list_probabilities(first)).all()


@pytest.mark.long
def test_annotations_of_vectors_hold_when_rows_are_added(folder, first):
    second = folder / "first"
    output = second / "review.csv"
    run(second, "review", "export", "--budget", "10", "--out", str(output))
    rows = pl.read_csv(output, infer_schema=False)
    right = {"cat": "dog", "dog": "cat"}
    filled = rows.with_columns(right_label=pl.col("label").replace_strict(right))
    filled.write_csv(output)
    run(second, "review", "import", str(output))
    more = pl.concat([make_rows(40, seed=5)[WRONG:], make_rows()[::-1]])
    result = detect(second, more)
    assert result.facts["reviewed"]["in_table"] == 10
    reviewed = result.table.filter(pl.col("reviewed").is_not_null())
    assert set(reviewed["id"]) == set(rows["id"])


@pytest.mark.long
def test_trusted_rows_have_vectors_of_the_same_features(folder, first):
    trusted = make_rows(80, seed=7)[WRONG:]
    place = folder / "trusted"
    place.mkdir()
    trusted.write_parquet(place / "trusted.parquet")
    keys = {"table": "trusted.parquet", "features": ["embedding", "source"], "label": "label"}
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    text = "\n".join([STUDY, "[queries]", *lines, 'id = "id"', "trusted = true", ""])
    result = detect(place, make_rows(), text)
    assert result.facts["trusted"] == 64
    is_wrong = result.table["train"].to_numpy() < WRONG
    assert average_precision_score(is_wrong, result.table["probability"]) > 0.9


def test_trusted_rows_of_another_width_are_refused(folder):
    place = folder / "narrow"
    place.mkdir()
    narrow = make_rows(40, seed=7).with_columns(pl.col("embedding").list.head(WIDTH - 1))
    narrow.write_parquet(place / "trusted.parquet")
    make_rows().write_parquet(place / "rows.parquet")
    (place / "study.toml").write_text(
        STUDY + '\n[queries]\ntable = "trusted.parquet"\nfeatures = ["embedding", "source"]\n'
        'label = "label"\nid = "id"\ntrusted = true\n'
    )
    done = CliRunner().invoke(app, ["mislabels", "--study", str(place / "study.toml")])
    assert done.exit_code == 2
    assert f"lists of {WIDTH} numbers" in " ".join(done.output.split())


def test_a_forecast_counts_a_feature_for_each_number(folder, first):
    place = folder / "forecast"
    place.mkdir()
    make_rows().write_parquet(place / "rows.parquet")
    (place / "study.toml").write_text(STUDY)
    output = run(place, "mislabels", "--dry-run")
    assert "160 training rows" in output
    assert "label noise and scores" in " ".join(output.split())
    assert not (place / "store").exists()


@pytest.mark.long
@pytest.mark.parametrize("trusted", [False, True])
def test_many_single_columns_are_ranked_as_lists_of_the_same_numbers(
    tmp_path, monkeypatch, trusted
):
    """Also where the trusted rows alone are few."""
    monkeypatch.setattr(joined_columns, "MAX_CELLS", ROWS * WIDTH)
    results = []
    for form, place in ((split_columns, tmp_path / "wide"), (rename_vectors, tmp_path / "lists")):
        place.mkdir()
        frame, text = form(make_rows())
        if trusted:
            form(make_rows(80, seed=7)[WRONG:])[0].write_parquet(place / "trusted.parquet")
            section = text[text.index("table =") : text.index("[store]")]
            keys = section.replace("rows.parquet", "trusted.parquet")
            text += f"\n[queries]\n{keys}trusted = true\n"
        results.append(detect(place, frame, text))
    wide, lists = results
    assert wide.table.equals(lists.table)
    assert wide.facts["trusted"] == lists.facts["trusted"] == (64 if trusted else 0)
    (note,) = wide.facts["columns"]
    assert f"the {WIDTH} columns of numbers x0 to x{WIDTH - 1} are read as one list" in note
