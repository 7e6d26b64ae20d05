"""Ranking scores: dense removal effects times a scale of each row, sorted with numpy."""

import numpy as np
import pytest
import reference
import torch
from torch import nn

from fastif import (
    Attribution,
    Attributor,
    CandidateIndex,
    CrossEntropy,
    Direct,
    Dual,
    Ensemble,
    ExhaustiveSearch,
    GaussNewton,
    InputError,
    ModuleObjective,
    NearestNeighbors,
    SquaredError,
    TensorExamples,
    all_ids,
    compute_embeddings,
)
from fastif.attribution.influence import (
    NO_EXAMPLE,
    Influences,
    concat_influences,
    mean_influence,
)
from fastif.attribution.ranking import ScaledEffects
from fastif.attribution.scorers import PrecomputedScorer
from fastif.candidates import Candidates
from fastif.data.examples import ExampleSubset

N, DAMPING, BROKEN = 19, 0.05, 7
GENERATOR = torch.Generator().manual_seed(3)
POINTS = torch.randn(N, 3, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.randint(3, (N,), generator=GENERATOR)
SCALE = torch.logspace(-1.5, 1.5, N, dtype=torch.float64)[torch.randperm(N, generator=GENERATOR)]
QUERIES = torch.tensor([2, 11, 5, 16])
EVERYTHING = ExhaustiveSearch()


def _net(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def _train(points=POINTS, batch_size=100) -> TensorExamples:
    return TensorExamples(points, LABELS).with_batch_size(batch_size)


def _attributor(seed: int, search=EVERYTHING, train=None) -> Attributor:
    train = _train() if train is None else train
    objective = ModuleObjective(_net(seed), CrossEntropy())
    ids = torch.tensor([i for i in range(N) if i != BROKEN])
    operator = GaussNewton(objective, train, ids).with_damping(DAMPING)
    return Attributor(objective, train, operator, Dual(), search, leverage="off")


def _attribute(seeds=(0,), search=EVERYTHING, train=None, scale=SCALE, slices=None) -> Attribution:
    members = [_attributor(seed, search, train) for seed in seeds]
    return Ensemble(members, row_scale=scale)(_train(), QUERIES, slices)


def _truth(seeds=(0,)) -> np.ndarray:
    """Mean removal effects [q n] of the models, by naive autograd."""
    effects = []
    for net in map(_net, seeds):
        names = [name for name, _ in net.named_parameters()]
        problem = reference.Problem(
            net, names, list(POINTS.split(1)), list(LABELS.split(1)), reference.cross_entropy
        )
        rows = reference.gradients(problem)
        matrix = reference.gauss_newton(problem, [i for i in range(N) if i != BROKEN])
        effects.append(reference.removal_effects(rows[QUERIES], rows, matrix, DAMPING))
    return torch.stack(effects).mean(0).numpy()


def _check(influences: Influences, effects: np.ndarray, order: np.ndarray) -> None:
    """The rows are in this order, with their own effects and ranking scores."""
    assert influences.ids.tolist() == order.tolist()
    expected = torch.from_numpy(np.take_along_axis(effects, order, 1))
    scores = torch.from_numpy(np.take_along_axis(effects * SCALE.numpy(), order, 1))
    torch.testing.assert_close(influences.removal_effect, expected, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(influences.ranking_score, scores, rtol=1e-8, atol=1e-12)
    assert torch.equal(influences.ranking, influences.ranking_score)


@pytest.mark.default_cases
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("keep", [None, 1, 4])
def test_a_full_scan_keeps_the_extremes_of_the_ranking_score(seeds, batch_size, keep):
    effects = _truth(seeds)
    order = np.argsort(effects * SCALE.numpy(), axis=1, kind="stable")
    kept = order if keep is None else np.concatenate([order[:, :keep], order[:, -keep:]], 1)
    train = _train(batch_size=batch_size)
    _check(_attribute(seeds, ExhaustiveSearch(keep), train).influences, effects, kept)
    plain = np.argsort(effects, axis=1)
    assert (plain != order).any(), "the scale changes the ranking"


@pytest.mark.default_cases("4-seeds0", "100-seeds1")
@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_candidates_are_ordered_by_the_ranking_score(seeds, batch_size):
    objective = ModuleObjective(_net(0), CrossEntropy())
    index = CandidateIndex.build(compute_embeddings(objective, _train(), all_ids(_train())))
    search, train = NearestNeighbors(index, 6), _train(batch_size=batch_size)
    plain = _attribute(seeds, search, train, scale=None).influences
    effects = _truth(seeds)
    scores = effects * SCALE.numpy()
    given = plain.ids.tolist()
    order = [sorted(ids, key=row.__getitem__) for ids, row in zip(given, scores, strict=True)]
    scaled = _attribute(seeds, search, train).influences
    _check(scaled, effects, np.array(order))
    assert plain.ranking_score is None
    assert given != order
    pairs = zip(given, order, strict=True)
    places = torch.tensor([[before.index(i) for i in after] for before, after in pairs])
    for name in ("removal_effect", "distances", "spread"):
        column = getattr(plain, name)
        moved = None if column is None else column.gather(1, places)
        assert moved is None or torch.equal(moved, getattr(scaled, name)), name


def test_effects_and_spreads_of_kept_rows_are_those_without_a_scale():
    plain = _attribute((0, 1), scale=None).influences
    scaled = _attribute((0, 1), ExhaustiveSearch(4)).influences
    for q, ids in enumerate(scaled.ids):
        places = [plain.ids[q].tolist().index(i) for i in ids.tolist()]
        assert torch.equal(scaled.removal_effect[q], plain.removal_effect[q, places])
        assert torch.equal(scaled.spread[q], plain.spread[q, places])


def test_totals_stay_in_nats():
    slices = torch.tensor([0, 1, 0, 1])
    totals = _attribute(search=ExhaustiveSearch(2), slices=slices).totals
    effects = torch.from_numpy(_truth())
    expected = torch.stack([effects[slices == s].sum(0) for s in (0, 1)])
    torch.testing.assert_close(totals.effects, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("keep", [None, 3])
@pytest.mark.parametrize("batch_size", [2, 100])
def test_equal_ranking_scores_are_ordered_by_position(keep, batch_size):
    effects = torch.tensor([[8.0, -1.0, 4.0, -4.0, 2.0, 0.0, -2.0, 1.0]])
    scale = torch.tensor([0.25, 4.0, 0.5, 1.0, 1.0, 1.0, 2.0, 8.0])
    train = TensorExamples(POINTS[:8], LABELS[:8]).with_batch_size(batch_size)
    scorer = PrecomputedScorer(train, 8 * effects, torch.ones(8, dtype=torch.bool))
    influences = mean_influence([scorer], keep=keep, ranking=ScaledEffects(scale))
    order = [1, 3, 6, 5, 0, 2, 4, 7]  # ranking scores -4, -4, -4, 0, 2, 2, 2, 8
    order = order if keep is None else [*order[:3], *order[-3:]]
    assert influences.ids.tolist() == [order]
    assert torch.equal(influences.removal_effect, effects[:, order])
    assert torch.equal(influences.ranking_score, (effects * scale)[:, order])
    all_rows = Candidates(torch.arange(8).flip(0)[None], torch.zeros(1, 8))
    assert mean_influence([scorer], all_rows, ranking=ScaledEffects(scale)).ids.tolist() == [
        [1, 3, 6, 5, 0, 2, 4, 7]
    ]


def test_a_broken_row_and_a_broken_query_have_no_ranking_score():
    points = POINTS.clone()
    points[BROKEN, 1] = torch.nan
    search, train = ExhaustiveSearch(), _train(points)
    answer = Ensemble([_attributor(0, search, train)], row_scale=SCALE)(train, [2, BROKEN])
    influences = answer.influences
    whole = _attribute().influences
    kept = whole.ids[0] != BROKEN
    assert torch.equal(influences.ids[0], whole.ids[0][kept])
    torch.testing.assert_close(influences.ranking_score[0], whole.ranking_score[0][kept])
    assert (influences.ids[1] == NO_EXAMPLE).all()
    assert torch.isinf(influences.ranking_score[1]).all()
    assert influences.nonfinite_ids.tolist() == [BROKEN]


def test_a_candidate_without_a_gradient_comes_last():
    points = POINTS.clone()
    points[BROKEN, 1] = torch.nan
    objective = ModuleObjective(_net(0), CrossEntropy())
    index = CandidateIndex.build(compute_embeddings(objective, _train(), all_ids(_train())))
    train = _train(points)
    search = NearestNeighbors(index, N)
    influences = Ensemble([_attributor(0, search, train)], row_scale=SCALE)(train, [2]).influences
    expected = [i for i in _attribute().influences.ids[0].tolist() if i != BROKEN]
    assert influences.ids[0].tolist() == [*expected, NO_EXAMPLE]
    assert float(influences.ranking_score[0, -1]) == torch.inf


def test_a_query_with_a_ranking_score_that_overflows_is_quarantined():
    """Effects 4/3 and 4/300 of the second row, times 3e38, in single precision."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data[:] = 1.0
    objective, zero = ModuleObjective(model, SquaredError()), [[0.0], [0.0]]
    train, queries = TensorExamples([[1.0], [2.0]], zero), TensorExamples([[1.0], [0.1]], zero)
    operator = GaussNewton(objective, train).with_damping(1.0)
    member = Attributor(objective, train, operator, Direct(), leverage="off")
    answer = Ensemble([member], row_scale=torch.tensor([1.0, 3e38]))(queries)
    assert answer.certificate.quarantined.tolist() == [True, False]
    assert answer.influences.ids.tolist() == [[NO_EXAMPLE, NO_EXAMPLE], [0, 1]]
    assert torch.isinf(answer.influences.ranking_score[0]).all()
    plain = member(queries)
    assert not plain.certificate.quarantined.any()


def test_batches_of_queries_and_selected_ones_are_those_of_all():
    whole = _attribute((0, 1), ExhaustiveSearch(4)).influences
    first, second = (
        Ensemble([_attributor(seed, ExhaustiveSearch(4)) for seed in (0, 1)], row_scale=SCALE)(
            _train(), ids
        ).influences
        for ids in QUERIES.split(2)
    )
    joined = concat_influences([first, second])
    chosen = whole.select_queries(torch.tensor([True, True, False, False]))
    for name in ("ids", "removal_effect", "spread", "ranking_score"):
        torch.testing.assert_close(getattr(joined, name), getattr(whole, name))
        torch.testing.assert_close(getattr(chosen, name), getattr(first, name))
    assert chosen.distances is None


class Scarce(ExampleSubset):
    """Examples on a machine with memory for two of them."""

    def take(self, ids):
        if len(ids) > 2:
            raise torch.OutOfMemoryError("injected: can't allocate memory")
        return super().take(ids)


def test_batches_that_are_halved_give_the_same_ranking():
    whole = _attribute(search=ExhaustiveSearch(4)).influences
    halved = Ensemble([_attributor(0, ExhaustiveSearch(4))], row_scale=SCALE)(
        Scarce(_train(), all_ids(_train())), QUERIES
    ).influences
    assert torch.equal(halved.ids, whole.ids)
    torch.testing.assert_close(halved.ranking_score, whole.ranking_score)


@pytest.mark.parametrize(
    "scale",
    [
        torch.ones(N - 1),
        torch.zeros(N),
        -torch.ones(N),
        torch.full((N,), torch.nan),
        torch.full((N,), torch.inf),
        torch.full((N,), 1e-60, dtype=torch.float64),
    ],
)
def test_scales_that_are_not_positive_numbers_are_refused(scale):
    with pytest.raises(InputError, match="row_scale") as caught:
        Ensemble([_attributor(0)], row_scale=scale)
    assert f"{N} training examples" in str(caught.value)
