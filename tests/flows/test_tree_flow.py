"""The flow of an audit of boosted trees gives the scores of one process."""

import numpy as np
import polars as pl
import pytest
from tree_worlds import make_audit_world

from flows.audit import audit
from flows.executor_config import ThreadsConfig
from flows.single_query import urgent
from storage import Store
from tasks.audit.in_process import audit_in_process
from tasks.run.spec import plan_run


@pytest.mark.timeout(900)
@pytest.mark.flow
@pytest.mark.long
def test_the_flow_gives_the_scores_of_one_process(tmp_path, prefect, monkeypatch):
    for name, value in prefect.items():
        monkeypatch.setenv(name, value)
    frames = []
    for name, engine in (("alone", None), ("threads", ThreadsConfig())):
        folder = tmp_path / name
        folder.mkdir()
        study = make_audit_world(folder)
        if engine is None:
            store, run = audit_in_process(plan_run(study))
        else:
            run = audit(str(study), engine=engine)
            store = Store.open(folder / "store", "tiny")
        frames.append(store.scan("scores", run).sort("query", "rank").collect())
    first, *others = frames
    names = ["query", "train", "rank", "removal_effect"]
    assert all(first.select(names).equals(other.select(names)) for other in others)
    explained = urgent(str(study), "queries-3", k=2)
    own = first.filter(pl.col("query") == 3)["removal_effect"].to_numpy()
    harmful = [float(str(row["removal_effect"])) for row in explained.harmful]
    assert np.allclose(harmful, np.sort(own)[:2])
