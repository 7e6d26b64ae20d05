"""Removal effects against the dense inverse; invariance to batching, order and candidates."""

import pytest
import reference
import torch
from cases import case
from torch import nn

from fastif import (
    CrossEntropy,
    Direct,
    Dual,
    GaussNewton,
    Gradients,
    Hessian,
    Influences,
    ModuleObjective,
    TensorExamples,
    all_ids,
    influence,
    self_influence,
)
from fastif.attribution.influence import NO_EXAMPLE
from fastif.candidates import Candidates
from fastif.gradients.per_example import compute_loss_gradients

DAMPING = 0.1


@pytest.fixture(params=["mlp", "embedding", "outside"], scope="module")
def scored(request):
    """Gradients, training set, s_test of three queries, and the true effects [q n]."""
    made = case(request.param, 12)
    truth = reference.gradients(made.problem)
    queries = truth[[1, 5, 6]] * torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64)
    matrix = reference.gauss_newton(made.problem)
    effects = reference.removal_effects(queries, truth, matrix, DAMPING)
    operator = GaussNewton(made.objective, made.train).with_damping(DAMPING)
    s_test = Dual().solve(operator, queries).value
    return Gradients(made.objective), made.train, s_test, effects


def _table(influences: Influences) -> list[dict[int, float]]:
    return [
        dict(zip(ids.tolist(), effects.tolist(), strict=True))
        for ids, effects in zip(influences.ids, influences.removal_effect, strict=True)
    ]


def _candidates(ids: list[list[int]]) -> Candidates:
    return Candidates(torch.tensor(ids), torch.zeros(len(ids), len(ids[0])))


def _check(influences: Influences, effects: torch.Tensor) -> None:
    """Each score is its cell of the dense matrix, and rows are ordered from harmful to helpful."""
    expected = effects.gather(1, influences.ids)
    torch.testing.assert_close(influences.removal_effect, expected, rtol=1e-8, atol=1e-11)
    assert (influences.removal_effect.diff(dim=1) >= 0).all()


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_a_full_scan_equals_the_dense_inverse_for_any_batch_size(scored, batch_size):
    gradients, train, s_test, effects = scored
    influences = influence(gradients, train.with_batch_size(batch_size), s_test)
    assert influences.ids.sort(1).values.tolist() == [list(range(12))] * 3
    _check(influences, effects)
    assert effects.min() < 0 < effects.max()


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_candidate_scores_equal_the_dense_inverse(scored, batch_size):
    gradients, train, s_test, effects = scored
    candidates = _candidates([[4, 0, 11, 7], [0, 1, 2, 3], [7, 4, 0, 11]])
    influences = influence(gradients, train.with_batch_size(batch_size), s_test, candidates)
    assert [set(row) for row in influences.ids.tolist()] == [
        {4, 0, 11, 7},
        {0, 1, 2, 3},
        {4, 0, 11, 7},
    ]
    _check(influences, effects)


def test_the_order_of_candidates_and_of_queries_changes_nothing(scored):
    gradients, train, s_test, _ = scored
    ids = torch.tensor([[4, 0, 11, 7], [0, 1, 2, 3], [9, 4, 8, 11]])
    straight = influence(gradients, train, s_test, Candidates(ids, ids.double().float()))
    mixed = ids.flip(0, 1)
    turned = influence(gradients, train, s_test.flip(0), Candidates(mixed, mixed.float()))
    assert torch.equal(straight.ids, turned.ids.flip(0))
    torch.testing.assert_close(straight.removal_effect, turned.removal_effect.flip(0))


def test_scores_do_not_depend_on_the_other_queries(scored):
    gradients, train, s_test, _ = scored
    together = influence(gradients, train, s_test)
    for i in range(3):
        alone = influence(gradients, train, s_test[i : i + 1])
        assert torch.equal(alone.ids[0], together.ids[i])
        torch.testing.assert_close(alone.removal_effect[0], together.removal_effect[i])


def test_a_full_scan_equals_scoring_every_row_as_a_candidate(scored):
    gradients, train, s_test, _ = scored
    scan = influence(gradients, train.with_batch_size(5), s_test)
    all_rows = Candidates(all_ids(train).expand(3, -1), torch.zeros(3, 12))
    influences = influence(gradients, train.with_batch_size(7), s_test, all_rows)
    assert torch.equal(scan.ids, influences.ids)
    torch.testing.assert_close(scan.removal_effect, influences.removal_effect)


@pytest.mark.default_cases
@pytest.mark.parametrize("keep", [1, 2, 5, 6, 7, 100])
@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_keep_returns_the_top_and_bottom_k(scored, keep, batch_size):
    gradients, train, s_test, effects = scored
    influences = influence(gradients, train.with_batch_size(batch_size), s_test, keep=keep)
    order = effects.argsort(1)
    expected = order if 2 * keep >= 12 else torch.cat([order[:, :keep], order[:, -keep:]], 1)
    assert influences.ids.tolist() == expected.tolist()
    _check(influences, effects)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_equal_scores_are_ordered_by_position(batch_size):
    """Examples 0, 2, 3 and 5 are identical, so their scores are equal to the last bit."""
    point, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    inputs = torch.cat([point, other, point, point, other, point]).double()
    train = TensorExamples(inputs, torch.zeros(6, dtype=torch.long))
    module = nn.Linear(2, 2, bias=False).double()
    module.weight.data.zero_()
    gradients = Gradients(ModuleObjective(module, CrossEntropy()))
    s_test = torch.tensor([[1.0, 0.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    influences = influence(gradients, train.with_batch_size(batch_size), s_test)
    assert influences.ids.tolist() == [[0, 2, 3, 5, 1, 4], [1, 4, 0, 2, 3, 5]]
    ends = influence(gradients, train.with_batch_size(batch_size), s_test, keep=1)
    assert ends.ids.tolist() == [[0, 4], [1, 5]]
    candidates = _candidates([[5, 3, 2, 0], [4, 5, 1, 0]])
    picked = influence(gradients, train.with_batch_size(batch_size), s_test, candidates)
    assert picked.ids.tolist() == [[0, 2, 3, 5], [1, 4, 0, 5]]


def test_empty_cells_of_an_index_come_last_without_an_example(scored):
    gradients, train, s_test, effects = scored
    candidates = _candidates([[4, NO_EXAMPLE, 7, NO_EXAMPLE], [0, 1, 2, 3], [NO_EXAMPLE] * 4])
    influences = influence(gradients, train.with_batch_size(2), s_test, candidates)
    assert sorted(influences.ids[0, :2].tolist()) == [4, 7]
    assert (influences.ids[0, 2:] == NO_EXAMPLE).all()
    assert (influences.ids[2] == NO_EXAMPLE).all()
    assert not torch.isfinite(influences.removal_effect[influences.ids == NO_EXAMPLE]).any()
    valid = influences.ids != NO_EXAMPLE
    expected = effects.gather(1, influences.ids.clamp_min(0))
    torch.testing.assert_close(influences.removal_effect[valid], expected[valid])


@pytest.mark.default_cases
@pytest.mark.parametrize("solver", [Direct(), Dual()])
@pytest.mark.parametrize("shard", [1, 5, 100])
def test_self_influence_is_the_diagonal(solver, shard):
    made = case("mlp", 12)
    truth = reference.gradients(made.problem)
    matrix = reference.gauss_newton(made.problem)
    effects = reference.removal_effects(truth, truth, matrix, DAMPING)
    operator = GaussNewton(made.objective, made.train).with_damping(DAMPING)
    actual = self_influence(
        Gradients(made.objective), made.train.with_batch_size(3), operator, solver, chunk_size=shard
    )
    torch.testing.assert_close(actual, effects.diagonal())
    assert (actual > 0).all()
    ids = torch.tensor([8, 0, 8])
    some = self_influence(
        Gradients(made.objective), made.train, operator, solver, ids, chunk_size=shard
    )
    torch.testing.assert_close(some, effects.diagonal()[ids])


def test_self_influence_factors_the_operator_once():
    made = case("mlp", 12)
    calls = []

    class Counted(GaussNewton):
        def factor_rows(self, batch_index):
            calls.append(batch_index)
            return super().factor_rows(batch_index)

    operator = Counted(made.objective, made.train).with_damping(DAMPING)
    self_influence(Gradients(made.objective), made.train, operator, Dual(), chunk_size=3)
    factored = len(calls)
    calls.clear()
    factor = Dual().factor(operator)
    once = len(calls)
    calls.clear()
    self_influence(
        Gradients(made.objective), made.train, operator, Dual(), factor=factor, chunk_size=3
    )
    assert factored == once + len(calls)


def test_effects_match_retraining_in_size_and_sign():
    """Softmax regression with L2 penalty, retrained without each example: loss minus before."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    labels = (points[:, 0] + 0.7 * torch.randn(40, generator=generator) > 0).long()
    labels[3] = 1 - labels[3]
    penalty = 0.05
    weights = reference.train_softmax(points, labels, 2, penalty)
    module = nn.Linear(4, 2, bias=False).double()
    module.weight.data.copy_(weights)
    objective = ModuleObjective(module, CrossEntropy())
    train = TensorExamples(points, labels)
    queries = TensorExamples(torch.randn(5, 4, generator=generator).double(), labels[:5])
    operator = Hessian(objective, train).with_damping(
        penalty
    )  # the penalty enters the curvature, not the gradients
    gradients = Gradients(objective)
    rows = compute_loss_gradients(gradients, queries.with_batch_size(8))
    tables = _table(influence(gradients, train, Direct().solve(operator, rows).value))

    def losses(w: torch.Tensor) -> torch.Tensor:
        scores = queries.inputs @ w.T
        return scores.logsumexp(1) - scores[torch.arange(5), queries.labels]

    again = reference.LeaveOneOut(points, labels, weights, penalty)
    real = torch.stack([losses(again.train_without(i)) - losses(weights) for i in range(40)], 1)
    predicted = torch.tensor([[row[i] for i in range(40)] for row in tables]).double()
    assert reference.pearson(predicted, real) > 0.99
    big = real.abs() > 0.1 * real.abs().max()
    assert big.sum() > 20
    assert (real[big] < 0).any()
    assert (real[big] > 0).any()
    assert torch.equal(predicted[big].sign(), real[big].sign())
    ratio = (predicted[big] / real[big]).median()
    assert 0.8 < ratio < 1.05  # in nats, not only in order
