"""Scores in low precision: close to the dense truth, and their certificate says how close."""

import pytest
import reference
import torch
from cases import case
from scipy.stats import spearmanr

from fastif import Attributor, Direct, Dual, Ensemble, Everything, GaussNewton, every
from fastif.attribution.control_sample import control_ids
from fastif.gradients.per_example import Tile
from fastif.numerics.blocked_dot import PIECE

DAMPING = 0.05


def _attributor(made, rounded, solver=None):
    operator = GaussNewton(made.objective, made.train).damped(DAMPING)
    search = Everything(None, rounded)
    return Attributor(
        made.objective, made.train, operator, solver or Direct(), search, leverage="off"
    )


def test_scores_that_come_with_the_solve_are_not_rounded():
    made = case("mlp")
    found = _attributor(made, True, Dual())(made.train, every(made.train))
    exact = _attributor(made, False, Dual())(made.train, every(made.train))
    assert torch.equal(found.influences.removal_effect, exact.influences.removal_effect)
    assert found.certificate.rounding is None


@pytest.mark.parametrize("name", ["mlp", "layernorm", "bert", "outside"])
def test_rounded_scores_are_those_of_the_dense_inverse_up_to_their_precision(name):
    made = case(name)
    truth = reference.gradients(made.problem)
    matrix = reference.gauss_newton(made.problem)
    expected = reference.removal_effects(truth, truth, matrix, DAMPING)
    ids = every(made.train)
    found = _attributor(made, True)(made.train, ids)
    effects = torch.empty_like(expected)
    effects.scatter_(1, found.influences.ids, found.influences.removal_effect.to(expected))
    size = expected.abs().amax(1, keepdim=True)
    assert float(((effects - expected).abs() / size).max()) < 0.02
    exact = _attributor(made, False)(made.train, ids)
    assert exact.certificate.rounding is None
    assert not torch.equal(exact.influences.removal_effect, found.influences.removal_effect)


def _by_id(found, query):
    effects = found.removal_effect[query].tolist()
    return dict(zip(found.ids[query].tolist(), effects, strict=True))


def test_the_certificate_has_the_rank_correlation_of_the_control_sample():
    made = case("mlp", 12)
    ids = every(made.train)
    found, exact = (_attributor(made, rounded)(made.train, ids) for rounded in (True, False))
    drawn = control_ids(len(made.train))
    for query in range(3):
        low, full = (_by_id(answer.influences, query) for answer in (found, exact))
        pairs = [(low[i], full[i]) for i in drawn.tolist()]
        expected = spearmanr(*zip(*pairs, strict=True)).statistic
        assert float(found.certificate.rounding[query]) == pytest.approx(expected, abs=1e-6)


def test_of_several_models_it_is_the_least():
    made, other = case("mlp", 12), case("mlp", 12)
    members = [_attributor(one, True) for one in (made, other)]
    ids = every(made.train)
    both = Ensemble(members)(made.train, ids).certificate.rounding
    each = [member(made.train, ids).certificate.rounding for member in members]
    torch.testing.assert_close(both, torch.stack(each).amin(0))


def test_products_of_long_rows_are_summed_in_single_precision():
    generator = torch.Generator().manual_seed(0)
    rows = (1 + torch.rand(3, 3 * PIECE + 5, generator=generator)).bfloat16()
    other = (1 + torch.rand(2, rows.shape[1], generator=generator)).bfloat16()
    exact = rows.double() @ other.double().T
    found = Tile(other).times(rows)
    assert found.dtype == torch.float32
    # Each of four pieces is rounded once to 8 bits; a single product would be rounded as a whole.
    assert float(((found - exact) / exact).abs().max()) < 2**-8
