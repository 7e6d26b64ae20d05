"""Sketches are computed once for each row, across kills, changed tables and concurrent runs."""

import polars as pl
import pytest
import tiny
import torch

import fastif
from fastif.candidates import GradientSketcher, compute_train_sketches
from tasks.audit.prepare import build_index
from tasks.planning.open_run import load_run
from tasks.run import sketches
from tasks.run.assemble import make_search
from tasks.run.curvature import make_gauss_newton
from tasks.run.hidden_states import get_train_examples
from tasks.run.spec import open_store, plan_run

SKETCH = {"kind": "sketch", "k": 12, "dimensions": 40, "width": 2048}


@pytest.fixture
def world(made, tmp_path):
    return tiny.copy(made, tmp_path / "world")


@pytest.fixture
def few_rows(monkeypatch):
    monkeypatch.setattr(sketches, "ROWS_PER_CHUNK", 16)


def _prepare_run(study):
    plan = plan_run(study)
    open_store(plan)
    build_index.fn(plan.ref)
    return load_run(plan)


def _rows(context):
    """Return all sketches in the order of the training table."""
    index = make_search(context).index
    return index.take(torch.arange(index.count))


def _count_sketched(monkeypatch):
    """Count the rows that are sketched from now on."""
    taken, real = [], compute_train_sketches

    def count(sketcher, gradients, train, ids, *rest):
        taken.append(len(ids))
        return real(sketcher, gradients, train, ids, *rest)

    monkeypatch.setattr(sketches, "compute_train_sketches", count)
    return taken


@pytest.mark.long
def test_sketches_equal_those_of_the_library_for_any_chunk_size(world, few_rows):
    context = _prepare_run(tiny.write_study(world, candidates=SKETCH))
    sketcher, rows = make_search(context).sketcher, _rows(context)
    again = GradientSketcher.fit(
        make_gauss_newton(context, get_train_examples(context)),
        context.damping,
        dimensions=40,
        width=2048,
        seed=0,
    )
    gradients = fastif.Gradients(context.objective)
    train = get_train_examples(context).with_batch_size(7)
    products = [
        projections @ projections.T
        for candidate in (sketcher, again)
        for projections in [compute_train_sketches(candidate, gradients, train).float()]
    ]
    torch.testing.assert_close(rows @ rows.T, products[0], rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(*products, rtol=1e-2, atol=1e-2 * float(products[0].abs().max()))
    blocks = list((world / "store" / "parts").glob("sketches-*/*"))
    assert len(blocks) > 1


@pytest.mark.long
def test_sketches_of_a_killed_run_are_reused(world, few_rows, monkeypatch):
    study = tiny.write_study(world, candidates=SKETCH)
    real, calls = compute_train_sketches, []

    def killed(*given):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(given)
        return real(*given)

    monkeypatch.setattr(sketches, "compute_train_sketches", killed)
    with pytest.raises(KeyboardInterrupt):
        _prepare_run(study)
    monkeypatch.setattr(sketches, "compute_train_sketches", real)
    taken = _count_sketched(monkeypatch)
    actual = _rows(_prepare_run(study))
    distinct = len({(r["text"], r["label"]) for r in tiny.rows_of(world / "train.csv")})
    assert sum(taken) == distinct - 2 * 16
    other = tiny.write_study(world, "o.toml", candidates=SKETCH, store={"path": "other"})
    torch.testing.assert_close(actual, _rows(_prepare_run(other)), rtol=0, atol=0)


def test_only_new_or_changed_rows_are_sketched(world, few_rows, monkeypatch):
    study = tiny.write_study(world, candidates=SKETCH)
    before = _prepare_run(study)
    old = _rows(before)
    rows = tiny.rows_of(world / "train.csv")
    added = {**rows[0], "id": "new", "text": "very very dull plot", "label": rows[0]["label"]}
    changed = {**rows[5], "text": rows[5]["text"] + " the actor was fine"}
    twice = {**rows[7], "id": "twice"}  # text and label of an existing row
    tiny.write_rows(world / "train.csv", [added, *rows[:5], changed, *rows[6:], twice])
    taken = _count_sketched(monkeypatch)
    after = _prepare_run(study)
    assert taken == [2]
    new = _rows(after)
    assert len(new) == len(rows) + 2
    kept = torch.tensor([i for i in range(len(rows)) if i != 5])
    assert torch.equal(new[kept + 1], old[kept])
    assert torch.equal(new[-1], old[7])
    gradients, ids = fastif.Gradients(after.objective), torch.tensor([0, 6])
    expected = compute_train_sketches(
        make_search(after).sketcher, gradients, get_train_examples(after), ids
    )
    torch.testing.assert_close(new[ids], expected.float(), rtol=1e-2, atol=1e-2)


@pytest.mark.long
def test_another_table_gets_a_separate_sketcher(world):
    study = tiny.write_study(world, candidates=SKETCH)
    _prepare_run(study)
    rows = tiny.rows_of(world / "train.csv")
    for row in rows[:20]:
        row["text"] += " very fast"
    tiny.write_rows(world / "train.csv", rows)
    _prepare_run(study)
    assert len(list((world / "store" / "parts" / "sketcher").iterdir())) == 2


@pytest.mark.long
def test_an_approximate_index_holds_the_same_sketches(world, few_rows):
    exact = make_search(_prepare_run(tiny.write_study(world, candidates=SKETCH)))
    study = tiny.write_study(world, "i.toml", candidates=SKETCH | {"factory": "IVF2,Flat"})
    context = _prepare_run(study)
    search = make_search(context)
    assert isinstance(search.index, fastif.CandidateIndex)
    assert search.index.count == exact.index.count
    search.index._index.nprobe = 2  # both cells, hence exact
    rows = exact.index.take(torch.arange(3))
    assert torch.equal(search.index.search(rows, 5).distances > 0, torch.ones(3, 5) > 0)
    torch.testing.assert_close(
        search.index.search(rows, 5).distances,
        exact.index.search(rows, 5).distances,
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.long
def test_a_lost_chunk_is_recomputed(world, few_rows):
    study = tiny.write_study(world, candidates=SKETCH)
    expected = _rows(_prepare_run(study))
    lost = sorted((world / "store" / "parts").glob("sketches-*/*"))[0]
    (lost / "sketches.safetensors").unlink()
    torch.testing.assert_close(_rows(_prepare_run(study)), expected, rtol=0, atol=0)


def test_row_digests_depend_on_text_pair_and_label(world):
    plan = plan_run(tiny.write_study(world, candidates=SKETCH))
    table = plan.inputs.train
    digests = sketches.row_digests(table, tiny.LABELS)
    content = list(zip(table.texts, table.labels, strict=True))
    frame = pl.DataFrame({"d": digests, "c": [repr(row) for row in content]})
    assert frame["d"].n_unique() == frame["c"].n_unique() == frame.n_unique()


@pytest.mark.long
def test_scores_by_sketches_only_do_not_depend_on_earlier_runs(world):
    """A sketcher of nearly the same rows would change the curvature of every effect."""
    alone = {**SKETCH, "rescore": False, "energy": 1.0, "check": 0}
    study = tiny.write_study(world, candidates=alone)
    tiny.run_directly(study)
    rows = tiny.rows_of(world / "train.csv")
    tiny.write_rows(world / "train.csv", rows[:-2])  # 0.9 of the rows, enough to reuse a sketcher
    later = tiny.scores_by_id(*tiny.run_directly(study))
    fresh = tiny.write_study(world, "fresh.toml", candidates=alone, store={"path": "fresh"})
    expected = tiny.scores_by_id(*tiny.run_directly(fresh))
    assert later["train_id"].to_list() == expected["train_id"].to_list()
    effects = (scores["removal_effect"].to_torch() for scores in (later, expected))
    torch.testing.assert_close(*effects, rtol=1e-5, atol=1e-7)
