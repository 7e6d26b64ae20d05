"""A few seeds of the sweep, of unlike kinds; `make fuzz` runs hundreds."""

import pytest

from tests.fuzz.case import draw
from tests.fuzz.command import Worker, prefect_server
from tests.fuzz.sweep import run_seed

pytestmark = pytest.mark.long

SEEDS = (2, 11, 206)
"""An XLNet that pads on the left, EK-FAC of a decoder, and an incremental run."""


@pytest.fixture(scope="module")
def worker():
    with prefect_server():
        made = Worker()
        yield made
        made.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_study_is_exact_or_reported(seed, worker):
    result = run_seed(seed, worker)
    assert result.state in ("exact", "bounded", "reported"), f"{result}"


def test_the_sweep_samples_every_kind():
    cases = [draw(seed) for seed in range(300)]
    assert {case.solver["kind"] for case in cases} == {"dual", "direct", "cg", "spectral", "lissa"}
    assert len({case.family for case in cases}) >= 20
    assert sum(case.night is not None for case in cases) > 50
    assert draw(7) == draw(7) != draw(8)
