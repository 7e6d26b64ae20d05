"""Cached heads are found by their order, and only by the same detection."""

import contextlib

import pytest
import torch

from fastif.mislabels.detector import MislabelDetector
from fastif.mislabels.features import concat_views
from fastif.mislabels.labeled_data import LabeledData
from storage import Store
from tasks.mislabels.head_cache import KIND, HeadCache


class StoppedError(Exception):
    pass


def rows():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    points = torch.randn(90, 6, generator=generator) + 3 * torch.eye(3, 6)[labels]
    return LabeledData(concat_views([points]), labels, 3)


def detect(store, search="s", stop_after=None, least=10):
    counted = []

    def advance(count):
        counted.append(count)
        if len(counted) == stop_after:
            raise StoppedError

    heads = HeadCache(store, search, advance, least)
    return MislabelDetector(fit=heads)(rows()), heads, len(counted)


@pytest.mark.long
def test_an_interrupted_detection_reuses_its_heads(tmp_path, monkeypatch):
    store = Store.open(tmp_path / "store", "s")
    alone = MislabelDetector()(rows()).probability
    fitted = []
    from tasks.mislabels import head_cache as kept_heads

    real = kept_heads.fit_linear_head
    monkeypatch.setattr(kept_heads, "fit_linear_head", lambda *a: fitted.append(1) or real(*a))
    with contextlib.suppress(StoppedError):
        detect(store, stop_after=17)
    assert len(fitted) == len(store.find_artifacts(KIND)) == 17
    posterior, heads, num_heads = detect(store)
    assert len(fitted) == num_heads, "each head is fitted once"
    assert torch.equal(posterior.probability, alone)
    heads.clear()
    assert not store.find_artifacts(KIND)


@pytest.mark.long
def test_heads_of_another_detection_are_not_removed(tmp_path):
    store = Store.open(tmp_path / "store", "s")
    _, first, num_heads = detect(store, "one")
    _, second, _ = detect(store, "two")
    assert len(store.find_artifacts(KIND)) == 2 * num_heads
    second.clear()
    assert len(store.find_artifacts(KIND)) == num_heads
    first.clear()
    assert not store.find_artifacts(KIND)


@pytest.mark.long
def test_heads_of_small_tables_are_not_cached(tmp_path):
    store = Store.open(tmp_path / "store", "s")
    detect(store, least=91)
    assert not store.find_artifacts(KIND)
