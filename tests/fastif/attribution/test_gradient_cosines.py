"""Rankings by gradient cosine: gradients by naive autograd, cosines and order by numpy."""

import numpy as np
import pytest
import reference
import torch
from torch import nn

from fastif import (
    Attributor,
    CandidateIndex,
    CrossEntropy,
    Dual,
    Ensemble,
    ExhaustiveSearch,
    GaussNewton,
    InputError,
    ModuleObjective,
    NearestNeighbors,
    TensorExamples,
    all_ids,
    compute_embeddings,
)
from fastif.attribution.influence import NO_EXAMPLE

N, DAMPING = 17, 0.05
GENERATOR = torch.Generator().manual_seed(5)
POINTS = torch.randn(N, 3, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.randint(3, (N,), generator=GENERATOR)
QUERIES = torch.tensor([2, 11, 5])


def _net(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def _train(points=POINTS, batch_size=100) -> TensorExamples:
    return TensorExamples(points, LABELS).with_batch_size(batch_size)


def _attributor(seed=0, search=None, train=None, net=None) -> Attributor:
    train = _train() if train is None else train
    objective = ModuleObjective(net or _net(seed), CrossEntropy())
    operator = GaussNewton(objective, _train()).with_damping(DAMPING)
    return Attributor(objective, train, operator, Dual(), search or ExhaustiveSearch())


def _truth(seed=0) -> np.ndarray:
    net = _net(seed)
    names = [name for name, _ in net.named_parameters()]
    pieces = list(POINTS.split(1)), list(LABELS.split(1))
    problem = reference.Problem(net, names, *pieces, reference.cross_entropy)
    rows = reference.gradients(problem).numpy()
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[QUERIES] @ rows.T


@pytest.mark.default_cases
@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("keep", [None, 3])
@pytest.mark.parametrize("seeds", [(0,), (1, 0)])
def test_a_full_scan_keeps_the_extremes_of_the_cosines(seeds, keep, batch_size):
    """Of two models, cosines are those of the first; effects are the mean, as without cosines."""
    train = _train(batch_size=batch_size)
    members = [_attributor(seed, ExhaustiveSearch(keep), train) for seed in seeds]
    influences = Ensemble(members, by_cosine=True)(_train(), QUERIES).influences
    cosines = _truth(seeds[0])
    order = np.argsort(cosines, axis=1, kind="stable")
    kept = order if keep is None else np.concatenate([order[:, :keep], order[:, -keep:]], 1)
    assert influences.ids.tolist() == kept.tolist()
    expected = torch.from_numpy(np.take_along_axis(cosines, kept, 1))
    torch.testing.assert_close(influences.ranking_score, expected, rtol=1e-9, atol=1e-12)
    plain = Ensemble([_attributor(seed) for seed in seeds])(_train(), QUERIES).influences
    effects = plain.removal_effect.gather(1, plain.ids.argsort(1)).gather(1, influences.ids)
    torch.testing.assert_close(influences.removal_effect, effects)
    assert (influences.removal_effect.diff(dim=1) < 0).any(), "the order is not by the effects"


def test_candidates_are_ordered_by_their_cosines():
    objective = ModuleObjective(_net(0), CrossEntropy())
    index = CandidateIndex.build(compute_embeddings(objective, _train(), all_ids(_train())))
    ensemble = Ensemble([_attributor(search=NearestNeighbors(index, 6))], by_cosine=True)
    influences = ensemble(_train(), QUERIES).influences
    cosines = np.take_along_axis(_truth(), influences.ids.numpy(), 1)
    assert (np.diff(cosines, axis=1) > 0).all()
    expected = torch.from_numpy(cosines)
    torch.testing.assert_close(influences.ranking_score, expected, rtol=1e-9, atol=1e-12)


def test_a_broken_row_is_left_out_and_a_broken_query_is_quarantined():
    points = POINTS.clone()
    points[4, 0] = torch.nan
    train = _train(points)
    answer = Ensemble([_attributor(train=train)], by_cosine=True)(train, [2, 4])
    order = [row for row in np.argsort(_truth()[0], kind="stable").tolist() if row != 4]
    assert answer.influences.ids[0].tolist() == order
    assert answer.influences.nonfinite_ids.tolist() == [4]
    assert (answer.influences.ids[1] == NO_EXAMPLE).all()


def test_a_gradient_of_zeros_has_the_cosine_zero():
    """Without a bias, the gradient of the zero point is zero, for a row and for a query."""
    points = POINTS.clone()
    points[0] = 0.0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Linear(3, 3, bias=False).double()
    member = _attributor(train=_train(points), net=net)
    influences = Ensemble([member], by_cosine=True)(_train(points), [0, 3]).influences
    assert influences.ranking_score[0].tolist() == [0.0] * N
    assert influences.ids[0].tolist() == list(range(N))
    place = influences.ids[1].tolist().index(0)
    assert influences.ranking_score[1, place] == 0.0


def test_a_scale_together_with_cosines_is_refused():
    with pytest.raises(InputError, match="either row_scale or by_cosine"):
        Ensemble([_attributor()], row_scale=torch.ones(N), by_cosine=True)
