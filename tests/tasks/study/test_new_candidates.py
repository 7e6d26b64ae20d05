"""A new kind of candidates needs one class and one entry: this file defines one and audits."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import torch
from jaxtyping import Int
from torch import Tensor

from fastif.candidates import Candidates, IndexSearch, Search
from tasks.study.candidate_section import CandidateSection
from tasks.study.candidates import CANDIDATES
from tasks.study.fields import CheckCount

K, SEED, CHECK, DAMPING = 9, 5, 6, 0.1


@dataclass(frozen=True)
class RandomRows(Search):
    """Score the same training examples for each query."""

    train: Int[Tensor, " k"]

    def find_candidates(self, gradients, queries, ids) -> Candidates:
        return Candidates(self.train.expand(len(ids), -1), None)


class RandomSection(CandidateSection):
    """`[candidates]`: a random sample of the training rows."""

    kind: Literal["random"] = "random"
    k: int
    """candidates a query"""
    seed: int = 0
    """random seed of the sample"""
    check: CheckCount = 8
    """queries that are scanned in full as well"""

    def count_kept_scores(self, rows: int) -> int:
        return self.k

    def estimate_distinct_candidates(self, rows: int, queries: int) -> float:
        return self.k

    def make_search(self, rows: int, methods: Sequence[IndexSearch]) -> Search:
        return RandomRows(_sample(rows, self.k, self.seed))


def _sample(rows: int, k: int, seed: int) -> Tensor:
    return torch.randperm(rows, generator=torch.Generator().manual_seed(seed))[:k]


@pytest.mark.long
def test_a_kind_of_the_registry_is_planned_forecast_audited_and_checked_with(world):
    import tiny
    from truth import Truth

    study = tiny.write_study(
        world,
        curvature={"damping": DAMPING},
        parameters={"attributed": ["^classifier"]},
        candidates={"kind": "random", "k": K, "seed": SEED, "check": CHECK},
        run={"shard_size": 5, "batch_size": tiny.TRAIN},
    )
    done = subprocess.run(
        [sys.executable, __file__, study],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])

    assert report["recorded"] == {"kind": "random", "k": K, "seed": SEED, "check": CHECK}
    assert report["pairs"] == K * tiny.QUERIES
    assert report["forecast"]["index"] == 0, "it has none"
    assert report["scans"] > 0
    candidates = _sample(tiny.TRAIN, K, SEED)
    assert {(query, train) for query, train, _ in report["effects"]} == {
        (query, train) for query in range(tiny.QUERIES) for train in candidates.tolist()
    }

    rows = [tiny.rows_of(world / f"{name}.csv") for name in ("train", "queries")]
    expected = Truth(world / "model", *rows, ("classifier.",)).effects(DAMPING)
    for query, train, effect in report["effects"]:
        torch.testing.assert_close(
            torch.tensor(effect, dtype=expected.dtype),
            expected[query, train],
            rtol=1e-3,
            atol=1e-3 * float(expected.abs().max()),
        )

    # Of so few rows all are at the top: each of the checked queries holds as many of them.
    whole = next(entry for entry in report["recall"] if entry["at"] == tiny.TRAIN)
    assert whole["queries"] == CHECK
    assert whole["share"] == pytest.approx(K / tiny.TRAIN)


def test_a_row_is_named_as_its_class_names_itself():
    for kind, section in CANDIDATES.items():
        assert section.model_fields["kind"].default == kind


def _audit(study: Path) -> dict[str, object]:
    """Plan, forecast and audit; imported late, since the study reads the registry once."""
    import tiny

    from tasks.planning.cost_model import estimate_work
    from tasks.planning.forecast import forecast_run
    from tasks.planning.open_run import load_run
    from tasks.planning.workload import make_workload
    from tasks.run.spec import plan_run

    context = load_run(plan_run(study))
    shards = context.plan.record.list_shards()
    forecast, work = forecast_run(context, shards), estimate_work(make_workload(context, shards))
    store, run = tiny.run_directly(study)
    (recall,) = store.scan("runs", run).collect()["recall"].to_list()
    return {
        "recorded": context.plan.record.parts["candidates"],
        "forecast": forecast.stages,
        "pairs": forecast.pairs,
        "scans": work["recall"].gradients,
        "recall": json.loads(recall),
        "effects": store.scan("scores", run)
        .select("query", "train", "removal_effect")
        .collect()
        .rows(),
    }


if __name__ == "__main__":
    CANDIDATES["random"] = RandomSection
    print(json.dumps(_audit(Path(sys.argv[1]))))
