"""Scores in bfloat16: close to the dense effects, with the error in the certificate."""

import pytest
import reference
import torch
from cases import case
from scipy.stats import spearmanr

from fastif import Attributor, Direct, Dual, Ensemble, GaussNewton, all_ids
from fastif.attribution.control_sample import select_control_ids
from fastif.gradients.gradient_tile import GradientTile
from fastif.numerics.blocked_dot import BLOCK_SIZE

DAMPING = 0.05


def _attributor(made, precision, solver=None):
    operator = GaussNewton(made.objective, made.train).with_damping(DAMPING)
    solver = solver or Direct()
    return Attributor(
        made.objective, made.train, operator, solver, leverage="off", precision=precision
    )


def test_precomputed_scores_are_not_rounded():
    made = case("mlp")
    actual = _attributor(made, "bf16", Dual())(made.train, all_ids(made.train))
    exact = _attributor(made, "single", Dual())(made.train, all_ids(made.train))
    assert torch.equal(actual.influences.removal_effect, exact.influences.removal_effect)
    assert actual.certificate.rounding is None


@pytest.mark.parametrize("name", ["mlp", "layernorm", "bert", "outside"])
def test_bfloat16_scores_equal_the_dense_ones_within_precision(name):
    made = case(name)
    truth = reference.gradients(made.problem)
    matrix = reference.gauss_newton(made.problem)
    expected = reference.removal_effects(truth, truth, matrix, DAMPING)
    ids = all_ids(made.train)
    actual = _attributor(made, "bf16")(made.train, ids)
    effects = torch.empty_like(expected)
    effects.scatter_(1, actual.influences.ids, actual.influences.removal_effect.to(expected))
    size = expected.abs().amax(1, keepdim=True)
    assert float(((effects - expected).abs() / size).max()) < 0.02
    exact = _attributor(made, "single")(made.train, ids)
    assert exact.certificate.rounding is None
    assert not torch.equal(exact.influences.removal_effect, actual.influences.removal_effect)


def _by_id(influences, query):
    effects = influences.removal_effect[query].tolist()
    return dict(zip(influences.ids[query].tolist(), effects, strict=True))


def test_rounding_is_the_rank_correlation_of_the_control_sample():
    made = case("mlp", 12)
    ids = all_ids(made.train)
    coarse, exact = (_attributor(made, name)(made.train, ids) for name in ("bf16", "single"))
    sampled = select_control_ids(len(made.train))
    for query in range(3):
        low, full = (_by_id(answer.influences, query) for answer in (coarse, exact))
        pairs = [(low[i], full[i]) for i in sampled.tolist()]
        expected = spearmanr(*zip(*pairs, strict=True)).statistic
        assert float(coarse.certificate.rounding[query]) == pytest.approx(expected, abs=1e-6)


def test_rounding_of_several_models_is_the_smallest():
    made, other = case("mlp", 12), case("mlp", 12)
    members = [_attributor(member_case, "bf16") for member_case in (made, other)]
    ids = all_ids(made.train)
    both = Ensemble(members)(made.train, ids).certificate.rounding
    each = [member(made.train, ids).certificate.rounding for member in members]
    torch.testing.assert_close(both, torch.stack(each).amin(0))


def test_products_of_long_vectors_are_summed_in_single_precision():
    generator = torch.Generator().manual_seed(0)
    rows = (1 + torch.rand(3, 3 * BLOCK_SIZE + 5, generator=generator)).bfloat16()
    other = (1 + torch.rand(2, rows.shape[1], generator=generator)).bfloat16()
    exact = rows.double() @ other.double().T
    actual = GradientTile(other).dot(rows)
    assert actual.dtype == torch.float32
    # Each of four blocks is rounded once to 8 bits; a single product would be rounded as a whole.
    assert float(((actual - exact) / exact).abs().max()) < 2**-8
