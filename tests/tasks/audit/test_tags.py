"""Audits of tagged sentences, against dense double precision matrices."""

import polars as pl
import pytest
import tag_world
from tag_world import Truth, read_effects, read_rows

from tasks.audit.in_process import audit_in_process
from tasks.run.spec import plan_run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tags") / "made"
    tag_world.make(folder)
    return folder


def _audit(folder, store="store", **changes):
    study = tag_world.write_study(folder, f"{store}.toml", store={"path": store}, **changes)
    return audit_in_process(plan_run(study))


SETTINGS = {
    "plain": ({}, {}, "first"),
    "all": ({"model": {"subwords": "all"}}, {}, "all"),
    "smoothed": (
        {"loss": {"label_smoothing": 0.1, "class_weights": [0.5, 1.0, 2.0, 1.0, 1.0]}},
        {"smoothing": 0.1, "weights": [0.5, 1.0, 2.0, 1.0, 1.0]},
        "first",
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_effects_equal_those_of_dense_matrices(made, name):
    changes, loss, subwords = SETTINGS[name]
    result = _audit(made, name, **changes)
    queries, train = read_rows(made, "queries"), read_rows(made, "train")
    expected = Truth(made, subwords).effects(queries, train, 0.01, **loss)
    effects = read_effects(*result, expected.shape)
    assert (effects - expected).abs().max() < 2e-3 * expected.abs().max()
