"""Draws of an audit sample: exact unbiasedness over all samples of small tables."""

from itertools import permutations

import numpy as np
import pytest
import torch

from fastif.mislabels.audit_draws import list_draws
from fastif.mislabels.audit_sample import AuditedRows, AuditSample
from fastif.mislabels.betting_bounds import bound_total, compute_evidence, estimate_total

COPIES = torch.tensor([1, 2, 1, 3, 1])
STRATUM = torch.tensor([0, 0, 1, 1, 1])
SIZE = torch.tensor([1.0, 1.0, 0.4, 0.4, 0.4], dtype=torch.float64)
ERROR = torch.tensor([0.9, 0.6, 0.2, 0.1, 0.3])
WRONG = torch.tensor([1, 0, 0, 1, 0])


def list_samples(length, units=(0, 1, 2, 3, 4)):
    """Every ordered sample with its probability by successive draws, from the definition."""
    for order in permutations(units, length):
        probability, left = 1.0, float(sum(COPIES[u] * SIZE[u] for u in units))
        for unit in order:
            mass = float(COPIES[unit] * SIZE[unit])
            probability *= mass / left
            left -= mass
        yield order, probability


def make_audited(*orders, populations=None, verdict=WRONG):
    units = torch.arange(5)
    samples = []
    for order, unit in zip(orders, populations or [units] * len(orders), strict=True):
        columns = (COPIES[unit], STRATUM[unit], SIZE[unit], ERROR[unit])
        samples.append(AuditSample(unit, *columns, torch.tensor(order), len(order)))
    labels = torch.zeros(5, dtype=torch.long)
    inside = torch.repeat_interleave(units, COPIES)
    return AuditedRows(tuple(samples), labels, verdict, COPIES, inside, labels > 0)


@pytest.mark.parametrize(
    "target", [[1, 2, 1, 3, 1], [1, 0, 0, 3, 1], [1, 1, 0, 2, 0], [0, 0, 1, 1, 0]]
)
def test_the_estimate_is_unbiased_over_all_samples(target):
    """In all rows, in a part of the units, and in a part of the copies of a unit.

    A part has a random number of draws; there the deviations of all draws have mean zero.
    """
    rows = np.array(target, dtype=float)
    truth, mean = float(rows @ WRONG.numpy()), 0.0
    for order, probability in list_samples(3):
        draws = list_draws(make_audited(order), rows, 0.0)
        mean += probability * len(draws) * (estimate_total(draws) - truth) if draws else 0.0
    assert mean == pytest.approx(0.0, abs=1e-8)


def test_two_samples_with_other_sizes_are_unbiased_together():
    """The second is taken from the rows that the first left, with all of its verdicts known."""
    rows, mean = COPIES.double().numpy(), 0.0
    for first, chance in list_samples(2):
        left = [unit for unit in range(5) if unit not in first]
        for second, following in list_samples(2, left):
            audited = make_audited(first, second, populations=[torch.arange(5), torch.tensor(left)])
            draws = list_draws(audited, rows, 0.0)
            assert len(draws) == 4
            mean += chance * following * estimate_total(draws)
    assert mean == pytest.approx(float(rows @ WRONG.numpy()), abs=1e-8)


def test_a_row_that_is_sampled_twice_counts_once():
    draws = list_draws(make_audited((0, 1), (1, 2)), np.ones(5), 0.0)
    assert [draw.cell for draw in draws] == [0, 0, 1]
    assert [draw.known for draw in draws] == [0.0, 1.0, 1.0]


def test_rows_reviewed_before_a_later_sample_are_known_to_it():
    audited = make_audited((0,), (2,), populations=[torch.arange(5), torch.tensor([1, 2, 4])])
    draws = list_draws(audited, COPIES.double().numpy(), 0.0)
    assert draws[1].known == 1 + 3  # the first draw, and unit 3 with its three copies
    assert draws[1].rows.tolist() == [2.0, 2.0]


def test_the_chances_of_a_draw_are_those_of_its_design():
    first, second = list_draws(make_audited((1, 3)), COPIES.double().numpy(), 0.0)
    total = 1 + 2 + 0.4 + 1.2 + 0.4
    assert first.factors.tolist() == pytest.approx([total / 1.0, total / 0.4])
    assert second.factors.tolist() == pytest.approx([(total - 2) / 1.0, (total - 2) / 0.4])


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_the_wealth_has_no_expected_gain_under_the_hypothesis(share, monkeypatch):
    """Over all samples, the mean wealth of both bets against the true number stays 1."""
    from fastif.mislabels import betting_bounds

    returns = []
    real = betting_bounds._compute_returns
    monkeypatch.setattr(betting_bounds, "_compute_returns",
                        lambda *a: returns.append(real(*a)) or returns[-1])  # fmt: skip
    monkeypatch.setattr(betting_bounds, "PLANNED_SHARE", share)
    rows, mean = COPIES.double().numpy(), np.zeros((2, 1 + betting_bounds.HORIZONS))
    for order, probability in list_samples(4):
        returns.clear()
        compute_evidence(list_draws(make_audited(order), rows, 0.0), np.array([4.0]))
        mean += probability * np.prod([r[..., 0] for r in returns], axis=0)
    assert mean == pytest.approx(np.ones_like(mean), abs=1e-6)


def test_bounds_after_all_draws_are_the_number():
    draws = list_draws(make_audited((0, 1, 2, 3, 4)), COPIES.double().numpy(), 0.0)
    assert bound_total(draws, 8.0) == (4.0, 4.0)


def test_without_a_draw_nothing_is_bounded():
    assert bound_total([], 7.0) == (0.0, 7.0)
