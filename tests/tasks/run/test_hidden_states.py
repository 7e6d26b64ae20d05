"""Hidden states on disk: equal scores, reuse, disk budget and atomic writes."""

from pathlib import Path

import pytest
import tiny
from typer.testing import CliRunner

from fastif.models.hidden_state_file import HiddenStateFile
from flows.cli import app as cli
from storage import Store
from tasks.models import hidden_state_cache
from tasks.planning.forecast import forecast_run
from tasks.planning.open_run import load_run
from tasks.run import hidden_states as hidden
from tasks.run.hidden_states import KIND, get_train_examples
from tasks.run.spec import open_existing_store, open_store, plan_run
from tasks.study.study import load_study

KILOBYTE = 1000
FILES = ("scores", "solves", "queries", "train")


@pytest.fixture(scope="module", autouse=True)
def _kilobytes():
    """Budgets are in kilobytes, since the hidden states of the study are small."""
    with pytest.MonkeyPatch.context() as patched:
        for module in (hidden, hidden_state_cache):
            patched.setattr(module, "MEGABYTE", KILOBYTE)
            patched.setattr(module, "GROUP", 8)
        yield


@pytest.fixture(scope="module")
def both(made, tmp_path_factory):
    """A folder with an audit in memory and one with hidden states on disk; only copied."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("hidden") / "both")
    tiny.run_directly(write_study(folder, 1000, 0, store="plain"))
    tiny.run_directly(write_study(folder, 0, 1000))
    return folder


@pytest.fixture
def small(both, tmp_path):
    """A copy of that folder."""
    return tiny.copy(both, tmp_path / "small")


def open_finished(world, *budgets, store="store"):
    """Open the store of an audit of the folder, with the name of its run."""
    store = open_existing_store(load_study(write_study(world, *budgets, store=store)))
    return store, store.find_latest().record.run


def write_study(world: Path, memory: int, disk: int, *, store="store", **changes) -> Path:
    run = {"prefix_cache_mb": memory, "prefix_disk_mb": disk}
    return tiny.write_study(world, run=run, store={"path": store}, **changes)


def find_files(store: Store) -> list[Path]:
    return sorted((store.layout.root / "parts" / KIND).glob("[!.]*/states.bin"))


@pytest.mark.parametrize(
    ("memory", "disk"), [(0, 1000), pytest.param(8, 1000, marks=pytest.mark.long)]
)
def test_scores_are_bitwise_equal_with_any_cache(small, memory, disk):
    plain, run = open_finished(small, 1000, 0, store="plain")
    store, same = open_finished(small, 0, 1000)
    if memory:
        store, same = tiny.run_directly(write_study(small, memory, disk, store="other"))
    assert run == same, "the place of hidden states is not part of the fingerprint"
    for name in FILES:
        actual, expected = (s.scan(name, run).collect() for s in (store, plain))
        assert actual.equals(expected), name
    assert find_files(store)
    assert not find_files(plain)


@pytest.mark.long
def test_hidden_states_beyond_both_budgets_are_recomputed(small):
    plain, run = open_finished(small, 1000, 0, store="plain")
    store, _ = tiny.run_directly(write_study(small, 5, 6, store="other"))
    actual, expected = (tiny.scores_by_id(s, run) for s in (store, plain))
    gap = (actual["removal_effect"] - expected["removal_effect"]).abs().max()
    assert gap < 1e-5 * expected["removal_effect"].abs().max()
    assert 0 < sum(path.stat().st_size for path in find_files(store)) <= 6 * KILOBYTE


def test_the_next_run_reads_the_stored_hidden_states(small, monkeypatch):
    store, _ = open_finished(small, 0, 1000)
    before = {path: path.stat().st_mtime_ns for path in find_files(store)}
    assert len(before) == 2, "one for each table"
    monkeypatch.setattr(HiddenStateFile, "write", None)
    solver = {"kind": "cg", "tolerance": 0.1}
    other = write_study(small, 0, 1000, solver=solver, candidates={"kind": "full"})
    tiny.run_directly(other)
    assert {path: path.stat().st_mtime_ns for path in find_files(store)} == before


@pytest.mark.long
def test_hidden_states_of_another_table_are_removed(small):
    store, _ = open_finished(small, 0, 1000)
    before = find_files(store)
    rows = tiny.rows_of(small / "train.csv")
    tiny.write_rows(small / "train.csv", rows[1:])
    tiny.run_directly(write_study(small, 0, 1000))
    after = find_files(store)
    assert len(after) == 2
    assert len(set(before) & set(after)) == 1, "the queries are unchanged"


@pytest.mark.long
def test_each_model_has_a_separate_file_within_one_budget(small):
    tiny.make_other(small, "other", 1)
    study = write_study(small, 0, 20, store="other-store", top={"models": ["other"]})
    store, run = tiny.run_directly(study)
    sizes = [path.stat().st_size for path in find_files(store)]
    assert len(sizes) == 2
    assert sum(sizes) <= 20 * KILOBYTE
    plain, _ = tiny.run_directly(
        write_study(small, 1000, 0, store="several", top={"models": ["other"]})
    )
    actual, expected = (tiny.scores_by_id(s, run) for s in (store, plain))
    gap = (actual["removal_effect"] - expected["removal_effect"]).abs().max()
    assert gap < 1e-5 * expected["removal_effect"].abs().max()


def test_a_killed_writer_leaves_no_file(world, monkeypatch):
    plan = plan_run(write_study(world, 0, 1000))
    store = open_store(plan)
    context = load_run(plan)
    take, calls = type(context.train_examples).take, []

    def interrupted_take(self, ids):
        calls.append(ids)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return take(self, ids)

    with monkeypatch.context() as patched:
        patched.setattr(type(context.train_examples), "take", interrupted_take)
        with pytest.raises(KeyboardInterrupt):
            get_train_examples(context)
    assert len(calls) == 2, "it was killed with the file partly written"
    assert not list((store.layout.root / "parts" / KIND).iterdir())
    assert get_train_examples(load_run(plan)).examples.file is not None
    assert len(find_files(store)) == 1


def test_a_truncated_file_is_rewritten(small):
    store, _ = open_finished(small, 0, 1000)
    study = write_study(small, 0, 1000)
    for path in find_files(store):
        path.write_bytes(path.read_bytes()[:-4])
    assert get_train_examples(load_run(plan_run(study))).examples.file is not None
    short = [path for path in find_files(store) if path.stat().st_size % 48]
    assert len(short) == 1, "the training file is rewritten, the other not read yet"


@pytest.mark.long
def test_the_forecast_counts_unwritten_and_recomputed_hidden_states(world, small):
    def load_and_forecast(memory: int, disk: int, folder=world):
        plan = plan_run(write_study(folder, memory, disk))
        return load_run(plan), forecast_run(load_run(plan), plan.record.list_shards())

    in_memory, plain = load_and_forecast(1000, 0)
    on_disk, more = load_and_forecast(0, 1000)
    tokens = int(in_memory.train_examples.lengths.sum() + in_memory.query_examples.lengths.sum())
    assert more.disk - plain.disk == tokens * 12 * 4
    assert hidden.count_states_to_compute(on_disk) == tiny.TRAIN + tiny.QUERIES
    assert hidden.compute_recomputed_share(on_disk) == 0
    after, _ = load_and_forecast(0, 1000, small)
    assert hidden.count_unwritten_bytes(after) == 0
    assert hidden.count_states_to_compute(after) == 0
    nothing, _ = load_and_forecast(0, 0)
    assert hidden.compute_recomputed_share(nothing) == 1
    assert hidden.count_states_to_compute(nothing) == 0


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_a_disk_without_room_is_refused_before_anything_is_written(world, monkeypatch, options):
    monkeypatch.setattr(hidden, "count_free_bytes", lambda path: 900)
    study = write_study(world, 0, 1000)
    done = CliRunner().invoke(cli.app, ["audit", str(study), *options])
    assert done.exit_code == 2
    text = " ".join(done.stderr.split())
    assert "[run] prefix_disk_mb: expected room for" in text
    assert "Lower it, free some space" in text
    assert not (world / "store").exists()
