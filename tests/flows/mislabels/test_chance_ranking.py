"""A table whose columns say nothing of the class: no row is suspected, and a sample is advised."""

import numpy as np
import polars as pl
import pytest
from command_line import invoke as run

STUDY = """
name = "chance"
labels = ["yes", "no"]
[train]
table = "rows.csv"
id = "id"
features = ["a", "b"]
label = "label"
[store]
path = "store"
"""


@pytest.fixture
def chance(tmp_path):
    rng = np.random.default_rng(4)
    n = 200
    columns = {
        "id": [f"row-{i}" for i in range(n)], "a": rng.normal(size=n), "b": rng.normal(size=n),
        "label": rng.choice(["yes", "no"], size=n),
    }  # fmt: skip
    pl.DataFrame(columns).write_csv(tmp_path / "rows.csv")
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path / "study.toml"


@pytest.mark.long
def test_rows_in_an_order_by_chance_are_neither_shown_nor_exported(chance, tmp_path):
    done = run("mislabels", chance)
    assert done.exit_code == 0, done.output
    shown = " ".join(done.output.split())
    assert "no better than chance" in shown
    assert "Add feature columns" in shown
    assert "encoder" not in shown
    assert "suggested" not in shown
    assert "--random" in shown.split("Next:")[1]
    for options in ((), ("--budget", 20), ("--order", "gain")):
        out = tmp_path / "review.csv"
        refused = run("review", "export", "--study", chance, "--out", out, *options)
        assert refused.exit_code != 0
        message = " ".join(refused.output.split())
        assert "better than chance" in message
        assert "--random" in message
        assert not out.exists()
    queries = '\n[queries]\ntable = "rows.csv"\nid = "id"\nfeatures = ["a", "b"]\nlabel = "label"\n'
    with_queries = chance.parent / "with-queries.toml"
    with_queries.write_text(chance.read_text() + queries)
    refused = run("mislabels", with_queries, "--validate", 1)
    assert refused.exit_code != 0
    assert "an order by chance" in " ".join(refused.output.split())
    sample = run("review", "export", "--study", chance, "--out", tmp_path / "s.csv", "--random", 30)
    assert sample.exit_code == 0, sample.output


def test_a_table_of_one_label_is_refused_without_a_model(chance):
    rows = chance.parent / "rows.csv"
    pl.read_csv(rows).with_columns(label=pl.lit("yes")).write_csv(rows)
    message = " ".join(run("mislabels", chance).output.split())
    assert '"yes" in all 200 rows' in message
    assert "use a table with rows of all labels" in message
