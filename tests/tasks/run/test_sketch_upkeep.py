"""Stored sketches after some nights with new rows: few chunks, and equal sketches."""

import pytest
import tiny
import torch

from tasks.audit.in_process import audit_in_process
from tasks.planning.open_run import load_run
from tasks.run import chunk_merge, sketch_upkeep
from tasks.run.assemble import make_search
from tasks.run.spec import plan_run


@pytest.fixture
def nights(made, tmp_path, monkeypatch):
    """Four nights, of which each adds a training row and a query; chunks are merged from two on."""
    monkeypatch.setattr(chunk_merge, "MANY_CHUNKS", 2)
    monkeypatch.setattr(chunk_merge, "GRACE_SECONDS", -60)
    monkeypatch.setattr(sketch_upkeep, "UNUSED_DAYS", -1.0)
    folder = tiny.copy(made, tmp_path / "world")
    study = tiny.write_study(folder, candidates=tiny.SKETCH | {"rescore": False}, carry={})
    for night in range(4):
        if night:
            for name in ("train", "queries"):
                rows = tiny.rows_of(folder / f"{name}.csv")
                new = rows[5] | {"id": f"new-{night}", "text": f"{rows[night]['text']} very good"}
                tiny.write_rows(folder / f"{name}.csv", [*rows, new])
        store, run = audit_in_process(plan_run(study))
    return store, run, study


def test_chunks_are_merged_and_their_sketches_are_those_of_each_row(nights):
    store, run, study = nights
    (train,) = store.list_artifact_kinds("sketches-")
    (queries,) = store.list_artifact_kinds("asked-")
    assert len(store.find_artifacts(train)) <= 3, "one of them is in the list of an earlier night"
    assert len(store.find_artifacts(queries)) <= 2
    assert len(store.find_artifacts("index")) == 1
    context = load_run(plan_run(study))
    search = make_search(context)
    rows = search.index.take(torch.arange(search.index.count)).float()
    again = store.scan("scores", run).collect()
    assert rows.shape[0] == len(context.train_examples) == tiny.TRAIN + 3
    assert torch.isfinite(rows).all()
    assert set(again["query"].to_list()) == set(range(tiny.QUERIES + 3))
