"""Noise of retraining: its estimate on simulated pairs, and repeats that a store has."""

import numpy as np
import polars as pl
import pytest
from handmade_runs import Row, open_store, write_run

from tasks.bisection.bisect_runs import bisect_runs
from tasks.bisection.retraining_noise import measure_noise

STRATA, EACH = 5, 40


def simulate(random, shift, spread):
    """A pair of trainings: shifts of whole strata, and differences of single queries."""
    shifts = np.repeat(shift * random.normal(size=STRATA), EACH)
    values = shifts + spread * random.normal(size=STRATA * EACH)
    stratum = np.repeat([f"s{i}" for i in range(STRATA)], EACH)
    return pl.DataFrame({"stratum": stratum, "difference": values, "chosen": stratum == "s2"})


@pytest.mark.parametrize(("shift", "spread"), [(0.02, 0.0), (0.0, 0.1), (0.02, 0.1)])
def test_the_margin_holds_for_another_training(shift, spread):
    """At most 5 % of the differences of a slice in other trainings exceed the margin."""
    random = np.random.default_rng(1)
    exceeded = []
    for _ in range(400):
        noise = measure_noise([simulate(random, shift, spread)])
        other = simulate(random, shift, spread).filter("chosen")["difference"].mean()
        exceeded.append(abs(other) > noise.margin)
    assert np.mean(exceeded) < 0.07
    deviation = np.hypot(shift, spread / EACH**0.5)
    many = measure_noise([simulate(random, shift, spread) for _ in range(300)])
    assert deviation <= many.deviation < 1.6 * deviation
    assert (many.degrees, many.trainings) == (STRATA * 300, 300)


def test_without_a_pair_nothing_is_known():
    assert measure_noise([]) is None


def rows(label="a"):
    return [Row(f"r{i}", f"text {i}", label) for i in range(4)]


def queries(loss):
    return [Row(f"q{i}", f"query {i}", "ab"[i % 2], loss=loss + 0.1 * i) for i in range(6)]


def test_repeats_are_runs_on_the_same_rows_with_another_model(tmp_path):
    store = open_store(tmp_path)
    write_run(store, "one", rows(), queries(0.5), model="m1", tables="t")
    write_run(store, "other", rows(), queries(0.53), model="m2", tables="t")
    settings = {"solver": {"kind": "cg"}}
    write_run(store, "settings", rows(), queries(0.9), model="m3", tables="t", **settings)
    write_run(store, "two", [*rows(), Row("new", "a new text")], queries(0.6), model="m4")
    noise = bisect_runs(store, "one", "two").noise
    assert noise is not None
    assert noise.trainings == 1
    assert noise.deviation == pytest.approx(0.03, rel=1e-3)


def test_another_seed_alone_is_a_repeat_of_itself(tmp_path):
    """Without changed rows the change is the noise, and no group exists that could be blamed."""
    store = open_store(tmp_path)
    for run, loss in (("one", 0.5), ("two", 0.57)):
        write_run(store, run, rows(), queries(loss), model=run, tables="t")
    bisection = bisect_runs(store, "one", "two")
    assert bisection.contributions == ()
    assert bisection.noise is not None
    assert abs(bisection.losses.change) <= bisection.noise.margin
    assert bisection.rest == pytest.approx(0.07, rel=1e-3)
