"""Ensemble: identities, and the mean of dense removal effects."""

from itertools import permutations

import pytest
import reference
import torch
from scipy.stats import spearmanr
from torch import nn

from fastif import (
    Attribution,
    Attributor,
    CandidateIndex,
    ConjugateGradient,
    CrossEntropy,
    Dual,
    Ensemble,
    ExhaustiveSearch,
    GaussNewton,
    InputError,
    Lissa,
    ModuleObjective,
    NearestNeighbors,
    TensorExamples,
    all_ids,
    compute_embeddings,
)
from fastif.models.prefix_cache import PrefixCache

N, DAMPING = 17, 0.05
GENERATOR = torch.Generator().manual_seed(0)
POINTS = torch.randn(N, 3, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.randint(3, (N,), generator=GENERATOR)
TRAIN = TensorExamples(POINTS, LABELS)
QUERIES = torch.tensor([2, 11, 5, 16])
EVERYTHING = ExhaustiveSearch()


def _net(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def _attributor(seed: int, search=EVERYTHING, damping=DAMPING, solver=None) -> Attributor:
    objective = ModuleObjective(_net(seed), CrossEntropy())
    operator = GaussNewton(objective, TRAIN, torch.arange(0, N, 2)).with_damping(damping)
    solver = solver or Dual()
    return Attributor(objective, TRAIN, operator, solver, search, certify_rows=None, leverage="off")


def _truth(seed: int) -> torch.Tensor:
    """Removal effects [q n] of one model."""
    net = _net(seed)
    names = [name for name, _ in net.named_parameters()]
    problem = reference.Problem(
        net, names, list(POINTS.split(1)), list(LABELS.split(1)), reference.cross_entropy
    )
    rows = reference.gradients(problem)
    matrix = reference.gauss_newton(problem, list(range(0, N, 2)))
    return reference.removal_effects(rows[QUERIES], rows, matrix, DAMPING)


def _check_close(actual: Attribution, expected: Attribution) -> None:
    assert torch.equal(actual.influences.ids, expected.influences.ids)
    for name in ("removal_effect", "spread"):
        pair = [getattr(attribution.influences, name) for attribution in (actual, expected)]
        if pair[1] is not None:
            torch.testing.assert_close(*pair, msg=name)


def test_scores_and_spread_equal_the_dense_ones():
    seeds = (0, 1, 2)
    actual = Ensemble([_attributor(seed) for seed in seeds])(TRAIN, QUERIES)
    truths = torch.stack([_truth(seed) for seed in seeds])
    ids = actual.influences.ids
    assert ids.sort(1).values.tolist() == [list(range(N))] * len(QUERIES)
    torch.testing.assert_close(actual.influences.removal_effect, truths.mean(0).gather(1, ids))
    torch.testing.assert_close(actual.influences.spread, truths.std(0).gather(1, ids))
    assert (actual.influences.removal_effect.diff(dim=1) >= 0).all()
    for row, query in enumerate(truths.unbind(1)):
        pairs = [spearmanr(query[i], query[j]).statistic for i, j in ((0, 1), (0, 2), (1, 2))]
        assert float(actual.certificate.agreement[row]) == pytest.approx(sum(pairs) / 3)
    assert actual.certificate.models == 3


@pytest.mark.parametrize("keep", [1, 3])
def test_top_and_bottom_k_are_those_of_the_mean(keep):
    actual = Ensemble([_attributor(seed, ExhaustiveSearch(keep)) for seed in (0, 1)])(
        TRAIN, QUERIES
    )
    order = torch.stack([_truth(0), _truth(1)]).mean(0).argsort(1)
    assert torch.equal(actual.influences.ids, torch.cat([order[:, :keep], order[:, -keep:]], 1))


def test_one_member_equals_its_attributor():
    alone = _attributor(0)(TRAIN, QUERIES)
    actual = Ensemble([_attributor(0)])(TRAIN, QUERIES)
    assert torch.equal(actual.influences.ids, alone.influences.ids)
    assert torch.equal(actual.influences.removal_effect, alone.influences.removal_effect)
    assert actual.influences.spread is None
    assert actual.certificate.agreement is None
    assert actual.certificate.models == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_three_identical_members_have_zero_spread(dtype):
    objective = ModuleObjective(_net(0).to(dtype), CrossEntropy())
    train = TensorExamples(POINTS.to(dtype), LABELS)
    operator = GaussNewton(objective, train).with_damping(DAMPING)
    members = [Attributor(objective, train, operator, Dual()) for _ in range(3)]
    alone, actual = members[0](train, QUERIES), Ensemble(members)(train, QUERIES)
    assert torch.equal(actual.influences.ids, alone.influences.ids)
    assert torch.equal(actual.influences.removal_effect, alone.influences.removal_effect)
    assert not actual.influences.spread.any()
    torch.testing.assert_close(actual.certificate.agreement, torch.ones(4, dtype=torch.float64))


@pytest.mark.long
def test_the_order_of_members_does_not_matter():
    first, *others = [
        Ensemble([_attributor(seed) for seed in seeds])(TRAIN, QUERIES)
        for seeds in permutations((0, 1, 2))
    ]
    for other in others:
        _check_close(other, first)
        torch.testing.assert_close(other.certificate.agreement, first.certificate.agreement)


def test_the_first_member_selects_the_candidates():
    members = []
    for seed in (0, 1):
        objective = ModuleObjective(_net(seed), CrossEntropy())
        index = CandidateIndex.build(compute_embeddings(objective, TRAIN, all_ids(TRAIN)))
        members.append(_attributor(seed, NearestNeighbors(index, 5)))
    actual = Ensemble(members)(TRAIN, QUERIES).influences
    chosen = members[0](TRAIN, QUERIES).influences
    assert torch.equal(actual.ids.sort(1).values, chosen.ids.sort(1).values)
    truths = torch.stack([_truth(0), _truth(1)])
    torch.testing.assert_close(actual.removal_effect, truths.mean(0).gather(1, actual.ids))
    torch.testing.assert_close(actual.spread, truths.std(0).gather(1, actual.ids))
    by_id = [
        influences.distances.gather(1, influences.ids.argsort(1)) for influences in (actual, chosen)
    ]
    assert torch.equal(*by_id)


@pytest.mark.long
def test_the_certificate_holds_the_worst_member():
    members = [
        _attributor(seed, damping=damping, solver=Lissa(depth, 2, 4, scale=4.0))
        for seed, damping, depth in ((0, 0.1, 30), (1, 0.3, 60))
    ]
    worst = Ensemble(members)(TRAIN, QUERIES).certificate
    parts = [member(TRAIN, QUERIES).certificate for member in members]
    for name in ("residual", "full_residual", "spread", "gradient_cosine"):
        expected = torch.stack([getattr(part, name) for part in parts]).amax(0)
        torch.testing.assert_close(getattr(worst, name), expected, msg=name)
    correlations = torch.stack([part.score_correlation for part in parts])
    assert torch.equal(worst.score_correlation.abs(), correlations.abs().amax(0))
    assert (worst.steps, worst.damping) == (max(part.steps for part in parts), 0.3)


def test_an_ensemble_has_converged_where_every_member_has():
    members = [
        _attributor(0, solver=ConjugateGradient()),
        _attributor(1, solver=ConjugateGradient(max_steps=1)),
    ]
    parts = [member(TRAIN, QUERIES).certificate.converged for member in members]
    assert bool(parts[0].all())
    assert not bool(parts[1].any())
    for order in (members, members[::-1]):
        assert not bool(Ensemble(order)(TRAIN, QUERIES).certificate.converged.any())


def test_a_query_that_overflows_in_one_member_is_quarantined():
    """SiLU of a huge number is huge, tanh of it is 1: one network overflows, the other does not."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        loud = nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 3)).double()
    objectives = [ModuleObjective(net, CrossEntropy()) for net in (_net(0), loud)]
    members = [
        Attributor(
            objective,
            TRAIN,
            GaussNewton(objective, TRAIN).with_damping(DAMPING),
            Dual(),
            leverage="off",
        )
        for objective in objectives
    ]
    points = POINTS[QUERIES].clone()
    points[1] = 1e308
    spoilt = TensorExamples(points, LABELS[QUERIES])
    actual = Ensemble(members)(spoilt, torch.arange(4))
    assert actual.certificate.quarantined.tolist() == [False, True, False, False]
    sound = Ensemble(members)(TRAIN, QUERIES).influences
    rest = [0, 2, 3]
    assert torch.equal(actual.influences.ids[rest], sound.ids[rest])
    torch.testing.assert_close(actual.influences.removal_effect[rest], sound.removal_effect[rest])


def test_members_with_different_training_sets_are_refused():
    objective = ModuleObjective(_net(0), CrossEntropy())
    few = TensorExamples(POINTS[:5], LABELS[:5])
    other = Attributor(objective, few, GaussNewton(objective, few).with_damping(0.1), Dual())
    with pytest.raises(InputError, match="same training examples"):
        Ensemble([_attributor(0), other])
    with pytest.raises(InputError, match="one member or more"):
        Ensemble([])


def test_hidden_states_of_one_member_are_refused_as_queries():
    members = [_attributor(0), _attributor(1)]
    cached = PrefixCache(members[0].objective, TRAIN, 0)
    with pytest.raises(InputError, match="PrefixCache"):
        Ensemble(members)(cached, QUERIES)
    assert Ensemble(members[:1])(cached, QUERIES).certificate.models == 1


def test_a_left_out_member_is_not_in_the_mean():
    members = [_attributor(seed) for seed in (0, 1, 2)]
    actual = Ensemble(members, left_out=[0])(TRAIN, QUERIES)
    kept = Ensemble(members[1:])(TRAIN, QUERIES)
    assert actual.certificate.models == 2
    assert torch.equal(actual.influences.ids, kept.influences.ids)
    assert torch.equal(actual.influences.removal_effect, kept.influences.removal_effect)


def test_a_left_out_first_member_still_selects_candidates():
    rows = compute_embeddings(_attributor(0).objective, TRAIN, all_ids(TRAIN))
    near = NearestNeighbors(CandidateIndex.build(rows), 5)
    members = [_attributor(seed, near) for seed in (0, 1, 2)]
    actual, whole, kept = (
        Ensemble(some, left_out)(TRAIN, QUERIES).influences
        for some, left_out in ((members, [0]), (members, []), (members[1:], []))
    )
    chosen = [set(row.tolist()) for row in actual.ids]
    assert chosen == [set(row.tolist()) for row in whole.ids]
    assert chosen != [set(row.tolist()) for row in kept.ids], "or any model would find these"
    everything = Ensemble([_attributor(seed) for seed in (1, 2)])(TRAIN, QUERIES).influences
    table = torch.zeros(len(QUERIES), N).double()
    table.scatter_(1, everything.ids, everything.removal_effect)
    torch.testing.assert_close(actual.removal_effect, table.gather(1, actual.ids))


def test_an_ensemble_without_members_in_the_mean_is_refused():
    with pytest.raises(InputError, match="at least one member in the mean"):
        Ensemble([_attributor(0)], left_out=[0])
