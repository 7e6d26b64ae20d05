"""The second night of a study of tagged sentences: rows retagged, added and gone, other models."""

import command_line
import pytest
import tag_world
import tiny
from tag_world import Truth, read_effects, read_rows
from transformers import BertForTokenClassification

from tasks.audit.in_process import audit_in_process
from tasks.run.spec import plan_run

SKETCH = {**tiny.SKETCH, "k": tag_world.ROWS, "rescore": False}
NIGHTS = {"candidates": SKETCH, "carry": {"least": 0.5}, "solver": {"kind": "dual"}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tags") / "made"
    tag_world.make(folder)
    return folder


def _audit(study):
    return audit_in_process(plan_run(study))


def _change(rows):
    """The rows without the last, one retagged and one new."""
    first = rows[0] | {"tags": ["B-LOC", *["O"] * (len(rows[0]["tags"]) - 1)]}
    new = rows[1] | {"id": "new", "tokens": ["paris", "sees", "bob"], "tags": ["B-LOC", "O", "O"]}
    return [first, *rows[1:-1], new]


def test_an_incremental_night_sketches_changed_rows_alone(made, tmp_path):
    folder = tiny.copy(made, tmp_path / "night")
    study = tag_world.write_study(folder, **NIGHTS)
    _audit(study)
    rows = _change(read_rows(folder, "train"))
    tag_world.write_rows(folder / "train.parquet", rows)
    store, run = _audit(study)
    assert store.read_record(run).parts.get("carried") is not None
    (candidates,) = store.scan("runs", run).select("candidates").collect()["candidates"]
    assert f'"train": {len(rows) - 2}' in candidates
    labels = store.scan("train", run).sort("train").collect()["label"].to_list()
    assert labels == [" ".join(row["tags"]) for row in rows]
    fresh = tag_world.write_study(folder, "fresh.toml", store={"path": "fresh"}, **NIGHTS)
    carried, again = tiny.scores_by_id(store, run), tiny.scores_by_id(*_audit(fresh))
    both = carried.join(again, on=["query_id", "train_id"], suffix="_again")
    assert len(both) >= 0.9 * len(again)
    effects, again = (both[f"removal_effect{end}"].to_numpy() for end in ("", "_again"))
    assert (
        abs(effects - again).mean() < 0.3 * abs(again).max()
    )  # the curvature of the sketches is that of the first night


def test_a_full_night_has_the_effects_of_the_changed_table(made, tmp_path):
    folder = tiny.copy(made, tmp_path / "night")
    study = tag_world.write_study(folder)
    first = _audit(study)
    rows = _change(read_rows(folder, "train"))
    tag_world.write_rows(folder / "train.parquet", rows)
    store, run = _audit(study)
    assert run != first[1]
    done = command_line.invoke("diff", first[1], run, study)
    words = " ".join(done.output.split())
    assert done.exit_code == 0, words
    assert "1 relabelled, 1 new, 1 removed" in words or "1 relabelled" in words
    expected = Truth(folder).effects(read_rows(folder, "queries"), rows, 0.01)
    effects = read_effects(store, run, expected.shape)
    assert (effects - expected).abs().max() < 2e-3 * expected.abs().max()


def test_an_interrupted_night_is_resumed(made, tmp_path):
    folder = tiny.copy(made, tmp_path / "night")
    study = tag_world.write_study(folder, run={"shard_size": 2}, queries={"label": None})
    store, run = _audit(study)
    effects = tiny.scores_by_id(store, run)
    manifests = sorted((folder / "store" / "runs" / run / "manifest").glob("*.json"))
    for manifest in manifests[-2:]:
        manifest.unlink()
    assert tiny.scores_by_id(*_audit(study)).equals(effects)


def test_another_model_is_another_run(made, tmp_path):
    folder = tiny.copy(made, tmp_path / "night")
    study = tag_world.write_study(folder)
    first = _audit(study)
    model = BertForTokenClassification.from_pretrained(folder / "model")
    model.classifier.weight.data *= 1.5
    model.save_pretrained(folder / "model")
    store, run = _audit(study)
    assert run != first[1]
    queries, train = read_rows(folder, "queries"), read_rows(folder, "train")
    expected = Truth(folder).effects(queries, train, 0.01)
    effects = read_effects(store, run, expected.shape)
    assert (effects - expected).abs().max() < 2e-3 * expected.abs().max()
