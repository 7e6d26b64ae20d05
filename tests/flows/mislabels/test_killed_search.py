"""A detection that is killed while it fits heads reads its neighbours from the store."""

import signal
import subprocess
import sys

import pytest
import tiny
from noisy_study import run_search, write_noisy

from storage import Store
from tasks.mislabels import neighbour_cache
from tasks.mislabels.neighbour_cache import KIND
from tasks.study.study import load_study

CHILD = """
import os, signal, sys
from tasks.mislabels import detect, head_cache, neighbour_cache
neighbour_cache.MIN_ROWS = 10
fitted = []
def fit(*arguments):
    fitted.append(1)
    if len(fitted) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
real, head_cache.fit_linear_head = head_cache.fit_linear_head, fit
detect.detect_mislabels.fn(sys.argv[1])
"""


def list_neighbours(study):
    loaded = load_study(study)
    return Store.open(loaded.resolve(loaded.store.path), loaded.name).find_artifacts(KIND)


@pytest.mark.long
@pytest.mark.parametrize("damaged", [False, pytest.param(True, marks=pytest.mark.long)])
def test_the_next_detection_has_the_results_of_an_undisturbed_one(
    made, tmp_path, monkeypatch, damaged
):
    study, alone = (write_noisy(tiny.copy(made, tmp_path / name)) for name in ("killed", "alone"))
    child = subprocess.run([sys.executable, "-c", CHILD, study], capture_output=True, text=True)
    assert child.returncode == -signal.SIGKILL, child.stderr
    (folder,) = list_neighbours(study).values()
    if damaged:
        (folder / neighbour_cache.FILE).write_bytes(b"no tensors")
    expected = run_search(alone)
    assert not list_neighbours(alone), "few rows are not cached"
    monkeypatch.setattr(neighbour_cache, "MIN_ROWS", 10)
    real, searches = neighbour_cache.find_neighbours, []
    monkeypatch.setattr(
        neighbour_cache, "find_neighbours", lambda *a: searches.append(1) or real(*a)
    )
    resumed = run_search(study)
    assert len(searches) == damaged
    assert resumed.table.equals(expected.table)
    assert not list_neighbours(study)
