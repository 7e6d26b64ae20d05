"""The linear head against scikit-learn; its self-influence against leave-one-out training."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from fastif.mislabels import linear_head
from fastif.mislabels.features import concat_views
from fastif.mislabels.linear_head import BIAS_PENALTY, HeadLoss, fit_linear_head
from fastif.mislabels.scores import compute_head_self_influence
from tests.fastif.mislabels.noisy_clouds import make_clouds


def test_linear_head_matches_scikit_learn():
    points, truth = make_clouds(200, 3, apart=1.0)
    x, penalty = points.double(), 1e-2
    head = fit_linear_head(x, torch.nn.functional.one_hot(truth, 3).double(), penalty)
    reference = LogisticRegression(C=1 / (penalty * len(x)), tol=1e-8, max_iter=1000).fit(x, truth)
    p = torch.from_numpy(reference.predict_proba(x))
    assert torch.allclose(head(x).softmax(1), p, atol=2e-3)


def test_self_influence_ranks_rows_as_leave_one_out_training():
    """With two classes, each diagonal block is the whole Hessian of its class."""
    points, truth = make_clouds(40, 2, apart=1.0)
    x, penalty = concat_views([points]).double(), 1e-1
    targets = torch.nn.functional.one_hot(truth, 2).double()
    head = fit_linear_head(x, targets, penalty)
    logits = head(x)
    (actual,) = compute_head_self_influence(
        x.float(), truth, [logits.float()], logits.float(), penalty
    )
    retrained = []
    for row in range(len(x)):
        kept = torch.arange(len(x)) != row
        other = fit_linear_head(x[kept], targets[kept], penalty)
        before, after = (h(x[row : row + 1]).log_softmax(1)[0, truth[row]] for h in (head, other))
        retrained.append(float(before - after))
    ranks = [torch.tensor(v).argsort().argsort().double() for v in (actual.tolist(), retrained)]
    assert torch.corrcoef(torch.stack(ranks))[0, 1] > 0.9


def make_weighted_rows(seed, rows=90, classes=3):
    """Rows with soft targets and weights, of which a third is 0."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, 5, generator=generator)
    targets = torch.randn(rows, classes, generator=generator).softmax(1)
    weights = torch.rand(rows, generator=generator) * (torch.arange(rows) % 3 > 0)
    return features, targets, weights


@pytest.mark.parametrize(("tile", "copied"), [(8_192, 2**26), (7, 2**26), (7, 0), (1, 0)])
def test_gradient_of_the_head_loss_is_that_of_autograd(monkeypatch, tile, copied):
    monkeypatch.setattr(linear_head, "TILE_ROWS", tile)
    monkeypatch.setattr(linear_head, "MAX_COPIED_NUMBERS", copied)
    x, targets, weights = (each.double() for each in make_weighted_rows(0))
    W = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    log_probs = (x @ W[:, :-1].T + W[:, -1]).log_softmax(1)
    truth = -(weights * (targets * log_probs).sum(1)).sum() / weights.sum()
    truth = truth + 0.05 * W[:, :-1].square().sum() + BIAS_PENALTY / 2 * W[:, -1].square().sum()
    truth.backward()
    truth = truth.detach()
    loss = HeadLoss.from_weights(x, targets, 0.1, weights)
    value, gradient = loss.compute_gradient(W.detach())
    assert float(value) == pytest.approx(float(truth), rel=1e-12)
    assert torch.allclose(gradient, W.grad, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("copied", [2**26, 0])
def test_rows_of_weight_zero_are_as_if_absent(monkeypatch, copied):
    monkeypatch.setattr(linear_head, "MAX_COPIED_NUMBERS", copied)
    x, targets, weights = make_weighted_rows(1)
    kept = weights > 0
    expected = fit_linear_head(x[kept].double(), targets[kept].double(), 1e-2, weights[kept])
    x[~kept], targets[~kept] = 1e6, 0.0
    head = fit_linear_head(x.double(), targets.double(), 1e-2, weights)
    assert torch.allclose(head.weight, expected.weight, atol=1e-5)
    assert torch.allclose(head.bias, expected.bias, atol=1e-5)


def test_prediction_of_some_rows_is_that_of_all(monkeypatch):
    x, targets, _ = make_weighted_rows(2)
    head, ids = fit_linear_head(x, targets, 1e-2), torch.tensor([5, 3, 80, 3])
    assert head.predict(x, ids[:0]).shape == (0, 3)
    for tile in (1, 3, 8_192):
        monkeypatch.setattr(linear_head, "TILE_ROWS", tile)
        assert torch.allclose(head.predict(x, ids), head(x)[ids], atol=1e-6)
