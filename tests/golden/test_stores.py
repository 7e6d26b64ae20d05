"""Stores of earlier days are read, compared, resumed and carried on."""

import json
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.golden.command import Commands, commands
from tests.golden.golden import run_step
from tests.golden.stores import FULL, STEPS, unpack
from tests.golden.study import (
    AUDIT,
    AUDITED,
    NIGHTLY,
    Step,
    write_models,
    write_study,
    write_tables,
)

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

STUDY = ("--study", "study.toml")


@pytest.fixture(scope="module")
def fastif():
    with commands() as made:
        yield made


def make_study(number: int, folder: Path) -> Path:
    """The study with a store of that format."""
    write_models(folder)
    write_tables(folder, 0)
    write_study(folder, AUDITED, FULL)
    return unpack(number, folder)


def read_output(fastif: Commands, folder: Path, *arguments: str) -> str:
    """What a command prints; it must not fail."""
    ended = fastif.run(list(arguments), folder)
    assert (ended.code, ended.traceback) == (0, False), ended.out + ended.err
    return ended.out


def records(store: Path) -> dict[str, dict]:
    """Every run's record, in the order of the names."""
    paths = sorted(store.glob("runs/*/run.json"))
    return {path.parent.name: json.loads(path.read_bytes()) for path in paths}


def rows(store: Path, name: str, run: str) -> pl.DataFrame:
    """A table of a run."""
    files = sorted((store / "tables" / name / f"run={run}").rglob("*.parquet"))
    return pl.concat([pl.read_parquet(file, hive_partitioning=False) for file in files])


def committed(store: Path) -> dict[str, bytes]:
    """Commits and tables, with their bytes."""
    paths = [*store.glob("runs/*/manifest/*.json"), *store.rglob("tables/**/*.parquet")]
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in paths}


def check_close(table: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Equal but for the last digits: another processor may have written the store."""
    assert_frame_equal(table, expected, rel_tol=1e-3, abs_tol=2e-6)


def is_finish_file(name: str, run: str) -> bool:
    """Whether a file belongs to the last commit of a run, which says when it was finished."""
    return name == f"runs/{run}/manifest/finish.json" or name.startswith(f"tables/runs/run={run}/")


def runs_by_kind(store: Path) -> dict[str, str]:
    """The names of the two runs by their kind of candidates."""
    return {of["parts"]["candidates"]["kind"]: name for name, of in records(store).items()}


@pytest.mark.parametrize("number", [2, 3])
def test_an_earlier_store_is_read_verified_and_compared(fastif, tmp_path, number):
    store = make_study(number, tmp_path)
    before, runs = committed(store), runs_by_kind(store)
    printed = read_output(fastif, tmp_path, "runs", *STUDY)
    assert all(name in printed for name in runs.values())
    assert printed.count("finished") == 2
    read_output(fastif, tmp_path, "verify", *STUDY)
    for kind, name in runs.items():
        scores = rows(store, "scores", name).filter(pl.col("query") == 0).sort("rank")
        (worst,) = rows(store, "train", name).filter(pl.col("train") == scores["train"][0])["id"]
        printed = read_output(fastif, tmp_path, "top", "q0", *STUDY, "--run", name, "-k", "1")
        assert worst in printed, kind
        assert f"{scores['removal_effect'][0]:+.4f}" in printed
        assert "q0" in read_output(fastif, tmp_path, "show", worst, *STUDY, "--run", name)
    assert committed(store) == before, "reading changes nothing"
    for kind, step in zip(("sketch", "full"), STEPS, strict=True):
        write_study(tmp_path, AUDITED, step.sections)
        read_output(fastif, tmp_path, "audit", "study.toml", "--run", f"fresh-{kind}")
        assert "-" in read_output(fastif, tmp_path, "diff", runs[kind], f"fresh-{kind}", *STUDY)
        for table in ("scores", "queries", "train"):
            old, new = (rows(store, table, name) for name in (runs[kind], f"fresh-{kind}"))
            check_close(new.select(old.columns), old)
        assert {name: of for name, of in committed(store).items() if name in before} == before


def test_an_earlier_run_is_resumed(fastif, tmp_path):
    store = make_study(3, tmp_path)
    for kind, step in zip(("sketch", "full"), STEPS, strict=True):
        run = runs_by_kind(store)[kind]
        whole, before = committed(store), rows(store, "scores", run)
        (store / "runs" / run / "manifest" / "00001.json").unlink()
        for path in store.glob(f"tables/*/run={run}/shard=00001/*.parquet"):
            path.unlink()
        kept = {name: of for name, of in committed(store).items() if not is_finish_file(name, run)}
        run_step(fastif, tmp_path, step, AUDITED)
        assert set(runs_by_kind(store).values()) == set(records(store)), "no other run"
        again = committed(store)
        assert {name: again[name] for name in kept} == kept, "what was there is not computed again"
        assert f"runs/{run}/manifest/00001.json" in again.keys() & whole.keys()
        check_close(rows(store, "scores", run), before)
    read_output(fastif, tmp_path, "verify", *STUDY)


def test_a_finished_run_of_an_earlier_store_is_not_computed_again(fastif, tmp_path):
    store = make_study(3, tmp_path)
    before = committed(store)
    for step in STEPS:
        run_step(fastif, tmp_path, step, AUDITED)
    assert committed(store) == before


def test_a_night_goes_on_from_an_earlier_one(fastif, tmp_path):
    store = make_study(3, tmp_path)
    known = records(store)
    base = runs_by_kind(store)["sketch"]
    run_step(fastif, tmp_path, Step(AUDIT, NIGHTLY, night=1), AUDITED)
    (new,) = records(store).keys() - known.keys()
    carried = records(store)[new]["parts"]["carried"]
    assert carried["from"] == carried["root"] == known[base]["fingerprint"]
    origins = rows(store, "solves", new)["origin"].to_list()
    assert origins.count(base) == 4, "queries that were asked before"
    assert origins.count(None) == 1
    read_output(fastif, tmp_path, "verify", *STUDY)
    fresh = tmp_path / "fresh"
    for step in (Step(AUDIT, NIGHTLY), Step(AUDIT, NIGHTLY, night=1)):
        run_step(fastif, fresh, step, AUDITED)
    for table in ("scores", "solves", "train"):
        expected, carried_on = (rows(place, table, new) for place in (fresh / "store", store))
        check_close(carried_on, expected)
    printed = read_output(fastif, tmp_path, "diff", base, new, *STUDY)
    assert base in printed
    assert new in printed
