"""A few seeds of the sweep, of unlike kinds; `make fuzz` runs hundreds."""

import pytest

from tests.fuzz.case import OTHER_TARGETS, draw
from tests.fuzz.command import Worker, prefect_server
from tests.fuzz.sweep import run_seed
from tests.fuzz.targets import LOSSES

pytestmark = pytest.mark.long

SEEDS = (2, 11, 206, 1000000, 1000006, 1000033)
"""An XLNet that pads on the left, EK-FAC of a decoder, and an incremental run; several numbers on
two nights, weighted ranks, and soft labels that queries lack."""


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


def test_the_sweep_samples_every_target_and_loss():
    cases = [draw(OTHER_TARGETS + seed) for seed in range(300)]
    targets = [case.target for case in cases]
    kinds = {(target.kind, target.loss_name) for target in targets}
    assert kinds == {(kind, loss) for kind, losses in LOSSES.items() for loss in losses}
    assert {target.layout for target in targets} == {"label", "columns", "list", "|", ";", ","}
    assert {target.ordinal for target in targets} >= {"coral", "corn", "cumulative"}
    assert sum(target.weighted for target in targets) > 50
    assert sum(target.by_label for target in targets) > 10
    assert sum(case.night is not None and case.night.reweighted > 0 for case in cases) > 10
