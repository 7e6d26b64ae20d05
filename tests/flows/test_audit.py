"""The flow, end to end, against a temporary Prefect server."""

import hashlib
import logging
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from truth import Truth, table

from storage import Store

pytestmark = pytest.mark.flow

PAIRS = {"text": ["text", "second"]}
SHARDS = 4


@contextmanager
def capture_log_records() -> Iterator[list[logging.LogRecord]]:
    """Capture log records of INFO or above of every logger, also of those that do not propagate."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.INFO)
    handler.emit = records.append  # type: ignore[method-assign]
    known = (logging.getLogger(name) for name in logging.root.manager.loggerDict)
    loggers = [logging.root, *known]
    before = [(logger, logger.level) for logger in loggers]
    ends = [logger for logger in loggers if logger is logging.root or not logger.propagate]
    for logger in loggers:
        logger.setLevel(logging.INFO)
    for logger in ends:
        logger.addHandler(handler)
    try:
        yield records
    finally:
        for logger in ends:
            logger.removeHandler(handler)
        for logger, level in before:
            logger.setLevel(level)


def state_of(folder: Path) -> dict[str, tuple[int, str]]:
    """Time of change and digest of every file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in files
    }


@pytest.fixture(scope="module")
def audited(prefect, made, tmp_path_factory):
    """A study of pairs with a full scan, audited by the flow in this process."""
    from flows.audit import audit

    folder = tiny.copy(made, tmp_path_factory.mktemp("audit") / "world")
    study = tiny.write_study(
        folder, train=PAIRS, queries=PAIRS, candidates={"kind": "full", "keep": 20}
    )
    with capture_log_records() as records:
        run = audit(str(study))
    store = Store.open(folder / "store", "tiny", create=False)
    return SimpleNamespace(folder=folder, study=study, run=run, store=store, records=records)


def test_scores_are_the_dense_truth(audited):
    rows = [tiny.rows_of(audited.folder / f"{name}.csv") for name in ("train", "queries")]
    truth = Truth(audited.folder / "model", *rows, tiny.LAST, pairs=True)
    effects = truth.effects(0.01)
    scores = audited.store.scan("scores", audited.run).collect()
    actual = torch.from_numpy(scores["removal_effect"].to_numpy()).double()
    expected = table(effects, scores)
    assert (actual - expected).abs().max() < 1e-4 * expected.abs().max()
    assert scores.height == tiny.QUERIES * 40
    assert scores["distance"].null_count() == scores.height
    for query, pairs in scores.group_by("query", maintain_order=True):
        order = effects[int(query[0])].argsort().tolist()
        assert pairs["rank"].to_list() == list(range(40))
        assert set(pairs["train"].head(20)) == set(order[:20])
        assert set(pairs["train"].tail(20)) == set(order[-20:])
    for name, key, problem in (
        ("queries", "query", truth.queries),
        ("train", "train", truth.train),
    ):
        outputs = truth.outputs(problem)
        given = torch.cat(list(problem.targets))
        predictions = audited.store.scan(name, audited.run).sort(key).collect()
        losses = torch.nn.functional.cross_entropy(outputs, given, reduction="none")
        assert predictions["loss"].to_numpy() == pytest.approx(losses.numpy(), abs=1e-5)
        chances = outputs.softmax(1).gather(1, given[:, None])[:, 0]
        assert predictions["probability"].to_numpy() == pytest.approx(chances.numpy(), abs=1e-5)
        assert predictions["prediction"].to_list() == [tiny.LABELS[i] for i in outputs.argmax(1)]
        assert predictions["correct"].to_list() == (outputs.argmax(1) == given).tolist()


@pytest.mark.long
def test_solves_carry_their_evidence(audited):
    rows = [tiny.rows_of(audited.folder / f"{name}.csv") for name in ("train", "queries")]
    truth = Truth(audited.folder / "model", *rows, tiny.LAST, pairs=True)
    import reference

    gradients = reference.gradients(truth.queries)
    matrix = reference.gauss_newton(truth.train)
    solved = gradients @ torch.linalg.inv(matrix + 0.01 * torch.eye(len(matrix)).double())
    solves = audited.store.scan("solves", audited.run).sort("query").collect()
    for name, expected in (
        ("gradient_norm", gradients.norm(dim=1)),
        ("solution_norm", solved.norm(dim=1)),
        ("gradient_cosine", torch.cosine_similarity(gradients, solved)),
    ):
        assert solves[name].to_numpy() == pytest.approx(expected.numpy(), rel=1e-3), name
    assert solves["residual"].max() < 5e-3
    assert solves["full_residual"].equals(solves["residual"]), "the curvature has all rows"
    assert solves["converged"].all()
    plain = gradients @ reference.gradients(truth.train).T
    effects = truth.effects(0.01)
    expected = [reference.pearson(left, right) for left, right in zip(effects, plain, strict=True)]
    assert solves["score_correlation"].to_numpy() == pytest.approx(expected, abs=1e-3)
    assert not solves["resembles_gradient_product"].any()
    assert set(solves["models"]) == {1}
    assert solves["reason"].null_count() == solves.height
    assert set(solves["damping"]) == {0.01}


def test_the_run_is_described(audited):
    (facts,) = audited.store.scan("runs", audited.run).collect().to_dicts()
    queries = audited.store.scan("queries", audited.run).collect()
    rows = tiny.rows_of(audited.folder / "queries.csv")
    assert queries["id"].to_list() == [row["id"] for row in rows]
    assert queries["text_pair"].to_list() == [row["second"] for row in rows]
    assert queries["group_kind"].to_list() == [row["kind"] for row in rows]
    assert facts["run"] == audited.run
    assert facts["accuracy"] == pytest.approx(queries["correct"].mean(), abs=1e-6)
    assert (facts["train_rows"], facts["query_rows"]) == (tiny.TRAIN, tiny.QUERIES)
    assert facts["truncated_queries"] == queries["truncated"].sum() > 0
    assert facts["truncated_train"] > 0
    assert facts["damping"] == 0.01
    assert '"dual"' in facts["solver"]
    assert "torch" in facts["versions"]
    assert 0 < facts["seconds"] < 120
    assert facts["finished"] >= facts["created"]
    assert audited.store.verify(audited.run) == []
    assert len(audited.store.read_record(audited.run).list_shards()) == SHARDS


def test_no_example_text_in_any_log(audited):
    messages = [record.getMessage() for record in audited.records]
    assert any(record.name.startswith("prefect") for record in audited.records), "nothing captured"
    names = ("train", "queries")
    rows = [row for name in names for row in tiny.rows_of(audited.folder / f"{name}.csv")]
    for text in [row["text"] for row in rows] + [row["second"] for row in rows]:
        assert not [message for message in messages if text in message]


def test_artifacts_contain_results_without_example_text(audited):
    from prefect.artifacts import Artifact

    progress = Artifact.get("influence-audit-progress")
    assert progress is not None
    assert float(progress.data) == 100
    summary = Artifact.get("influence-audit")
    assert summary is not None
    text = str(summary.data)
    assert summary.type == "markdown"
    assert audited.run in text
    queries = audited.store.scan("queries", audited.run).collect()
    assert f"{queries['correct'].mean():.1%} of 17" in text
    for name in queries.sort("loss", descending=True)["id"].head(5):
        assert name in text
    assert not [word for word in queries["text"] if word in text]


def test_nothing_pickled_is_at_rest(audited, prefect):
    with pytest.raises(AssertionError):
        no_pickle(b"\x80\x04" + pickle.dumps("x", 4)[2:])
    for path in (*audited.folder.rglob("*"), *Path(prefect["PREFECT_HOME"]).rglob("*")):
        if path.is_file():
            no_pickle(path.read_bytes())
    kept = [path for path in (audited.folder / "store").rglob("*") if path.is_file()]
    assert len(kept) > 3 * SHARDS
    assert {path.suffix for path in kept} <= {".json", ".parquet", ".safetensors", ".faiss"}
    assert not [path for path in kept if path.name.startswith(".")]


def no_pickle(data: bytes) -> None:
    assert not (data[:1] == b"\x80" and data[1:2] in b"\x02\x03\x04\x05")
    assert b"cpython" not in data[:200]


def test_a_second_audit_computes_nothing(audited):
    from flows.audit import audit

    before = state_of(audited.folder)
    with capture_log_records() as records:
        assert audit(str(audited.study)) == audited.run
    assert state_of(audited.folder) == before
    assert not [record for record in records if "shard-" in record.getMessage()]


@pytest.mark.long
def test_a_second_run_in_the_same_store_shares_artifacts_and_changes_nothing(audited):
    from flows.audit import audit

    before = state_of(audited.folder / "store")
    options = {"train": PAIRS, "queries": PAIRS, "candidates": {"kind": "knn", "k": 5}}
    path = tiny.write_study(audited.folder, "second.toml", **options)
    run = audit(str(path), "nightly.2")
    assert run == "nightly.2"
    after = state_of(audited.folder / "store")
    assert before.items() <= after.items()
    new = [name for name in after if name not in before]
    assert not [name for name in new if name.startswith("parts/factor")], "the factor is shared"
    both = {status.record.run: status.finished for status in audited.store.list_runs()}
    assert both == {audited.run: True, run: True}
    full, near = (tiny.scores_by_id(audited.store, name) for name in (audited.run, run))
    shared = near.join(full, on=["query_id", "train_id"])
    assert shared.height > 20
    gap = (shared["removal_effect"] - shared["removal_effect_right"]).abs().max()
    assert gap <= 1e-5 * full["removal_effect"].abs().max()


@pytest.mark.long
def test_a_solver_that_diverges_ends_in_reasons_and_the_flow_completes(prefect, world):
    """Every shard is committed, and the summary has warnings."""
    from prefect.artifacts import Artifact

    from flows.audit import audit

    solver = {"kind": "lissa", "depth": 400, "scale": 0.01}
    study = tiny.write_study(world, solver=solver, run={"shard_size": 64})
    run = audit(str(study))
    store = Store.open(world / "store", "tiny", create=False)
    (status,) = store.list_runs()
    assert status.finished
    solves = store.scan("solves", run).collect()
    assert solves["reason"].null_count() == 0
    assert set(solves["reason"].str.contains("diverged")) == {True}
    assert store.scan("scores", run).collect().is_empty()
    summary = Artifact.get("influence-audit")
    assert summary is not None
    assert f"**{tiny.QUERIES} queries without scores" in str(summary.data)
