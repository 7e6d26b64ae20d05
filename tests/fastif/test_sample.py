"""Rows drawn at random tell how many labels are wrong, whatever the errors are like."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import one_hot

from fastif.mislabels.detector import Detector
from fastif.mislabels.features import joined
from fastif.mislabels.labeled_data import UNSEEN, Rows
from fastif.mislabels.random_audit import Drawn, Sample

N = 2000


def population(kind, seed=0):
    """Labels, which are wrong, and doubts that fit, are far too small, or say nothing."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(N) % 3
    true = torch.where(torch.rand(N, generator=generator) < 0.2, 0.7, 0.05)
    wrong = torch.rand(N, generator=generator) < true
    doubt = {
        "fits": true,
        "small": true * 0.02,
        "nothing": torch.rand(N, generator=generator),
        "backwards": 1 - true,
    }[kind]
    return labels, wrong, doubt


def drawn_from(labels, wrong, doubt, m, seed, among=None):
    generator = torch.Generator().manual_seed(seed)
    free = torch.arange(len(labels)) if among is None else among.nonzero()[:, 0]
    place = free[torch.randperm(len(free), generator=generator)[:m]]
    seen = torch.zeros(len(labels), dtype=torch.bool).index_fill(0, place, True)
    of = torch.ones(len(labels), dtype=torch.bool) if among is None else among
    return Drawn(place, labels[place], wrong[place], doubt[place], of), seen


@pytest.mark.parametrize("kind", ["fits", "small", "nothing", "backwards"])
@pytest.mark.parametrize("label", [None, 1])
def test_nine_intervals_in_ten_hold_the_count(kind, label):
    inside = []
    for seed in range(200):
        labels, wrong, doubt = population(kind, seed)
        drawn, seen = drawn_from(labels, wrong, doubt, 100, 1000 + seed)
        errors = Sample(drawn, labels, doubt, seen, seen & wrong).errors(label)
        of = wrong if label is None else wrong & (labels == label)
        inside.append(errors.low <= int(of.sum()) <= errors.high)
    # 0.9 give or take 2.3 standard errors of 200 draws, and no more than a little too wide.
    assert 0.85 <= np.mean(inside) <= 0.985


def test_doubts_that_tell_make_the_interval_narrower():
    width = {}
    for kind in ("fits", "nothing"):
        labels, wrong, doubt = population(kind)
        drawn, seen = drawn_from(labels, wrong, doubt, 200, 1)
        errors = Sample(drawn, labels, doubt, seen, seen & wrong).errors()
        width[kind] = errors.high - errors.low
    assert width["fits"] < 0.85 * width["nothing"]


def test_what_was_reviewed_and_mended_before_and_after_a_draw_is_counted_right():
    """The worst rows are looked at, then some are drawn, then all that was found is mended."""
    inside = []
    for seed in range(200):
        labels, wrong, doubt = population("small", seed)
        worst = torch.zeros(N, dtype=torch.bool)
        worst[doubt.argsort(descending=True)[:150]] = True
        drawn, own = drawn_from(labels, wrong, doubt, 100, 1000 + seed, ~worst)
        seen = worst | own
        kept = ~(seen & wrong)
        new = torch.where(kept, kept.cumsum(0) - 1, -1)
        of = drawn.population[kept]
        left = Drawn(new[drawn.place], drawn.label, drawn.wrong, drawn.doubt, of)
        table = labels[kept], doubt[kept], seen[kept], (seen & wrong)[kept]
        errors = Sample(left, *table).errors()
        inside.append(errors.low <= int(wrong[kept].sum()) <= errors.high)
    assert 0.85 <= np.mean(inside) <= 0.985


def test_recalibration_is_that_of_another_library():
    labels, wrong, doubt = population("small")
    drawn, seen = drawn_from(labels, wrong, doubt, 1000, 1)
    told = Sample(drawn, labels, doubt, seen, seen & wrong).recalibrated()
    z = doubt.double().logit()[:, None].numpy()
    other = LogisticRegression(C=1e6, tol=1e-10).fit(z[drawn.place], drawn.wrong.numpy())
    assert told.numpy() == pytest.approx(other.predict_proba(z)[:, 1], abs=0.01)


def test_an_order_that_is_backwards_is_not_turned():
    labels, wrong, doubt = population("backwards")
    drawn, seen = drawn_from(labels, wrong, doubt, 500, 1)
    told = Sample(drawn, labels, doubt, seen, seen & wrong).recalibrated()
    assert float(told.max() - told.min()) < 1e-6


def test_everything_seen_is_everything_known():
    labels, wrong, doubt = population("small")
    place, every = torch.arange(N), torch.ones(N, dtype=torch.bool)
    errors = Sample(Drawn(place, labels, wrong, doubt, every), labels, doubt, every, wrong).errors()
    assert errors.low == errors.high == errors.expected == int(wrong.sum())


def test_the_detector_counts_by_drawn_rows_and_keeps_its_order():
    """Half of one class is labelled as another by a word that the features hold."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(600) % 3
    word = (truth == 0) & (torch.rand(600, generator=generator) < 0.5)
    labels = torch.where(word, 1, truth)
    points = 6 * one_hot(truth, 3) + torch.randn(600, 3, generator=generator)
    rows = Rows(joined([torch.cat([points, 9.0 * word[:, None]], 1)]), labels, 3)
    plain = Detector()(rows)
    assert plain.errors() is None
    assert plain.modelled().high < int(word.sum())
    drawn, seen = drawn_from(labels, word, plain.doubt, 80, 3)
    known = torch.where(seen, truth, UNSEEN)
    told = Rows(rows.features, labels, 3, known=known, drawn=drawn)
    found = Detector()(told)
    errors = found.errors()
    assert errors.low <= int(word.sum()) <= errors.high
    assert found.errors(1).low <= int(word.sum()) <= found.errors(1).high
    assert float(found.probability.sum()) == pytest.approx(errors.expected, rel=0.15)
    order = found.doubt[~seen].argsort()
    assert (found.probability[~seen][order].diff() >= -1e-6).all()
    assert torch.allclose(found.belief.sum(1), torch.ones(600), atol=1e-5)


def test_fewer_than_thirty_are_not_asked():
    labels, wrong, doubt = population("small")
    drawn, seen = drawn_from(labels, wrong, doubt, 29, 1)
    known = torch.where(seen, labels, UNSEEN)
    rows = Rows(torch.randn(N, 2), labels, 3, known=known, drawn=drawn)
    assert rows.sample(doubt) is None


def test_a_row_that_is_gone_counts_by_what_was_told_of_it():
    labels, wrong, doubt = population("small")
    drawn, seen = drawn_from(labels, wrong, doubt, 200, 1)
    whole = Sample(drawn, labels, doubt, seen, seen & wrong).recalibrated()
    kept = ~(seen & wrong)
    new = torch.where(kept, kept.cumsum(0) - 1, -1)
    of = drawn.population[kept]
    left = Drawn(new[drawn.place], drawn.label, drawn.wrong, drawn.doubt, of)
    table = labels[kept], doubt[kept], seen[kept], (seen & wrong)[kept]
    assert int((left.place < 0).sum()) > 10
    assert torch.allclose(Sample(left, *table).recalibrated(), whole[kept], atol=1e-6)


def test_rows_that_were_seen_to_be_right_are_not_doubted():
    """The most doubtful half was looked at, and is right; of the rest one in fifty is wrong."""
    worst = torch.arange(N) < N // 2
    wrong = ~worst & (torch.arange(N) % 50 == 0)
    doubt = torch.where(worst, 0.9, 0.02)
    labels = torch.arange(N) % 3
    drawn, own = drawn_from(labels, wrong, doubt, 100, 1, ~worst)
    seen = worst | own
    errors = Sample(drawn, labels, doubt, seen, seen & wrong).errors()
    assert errors.expected < 100
    assert errors.low <= int(wrong.sum()) <= errors.high
