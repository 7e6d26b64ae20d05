"""Scores of a linear head against dense formulas, for any tiles."""

import pytest
import torch
from torch.nn.functional import one_hot

from fastif.mislabels import scores
from fastif.mislabels.linear_head import fit_linear_head
from fastif.mislabels.scores import compute_head_self_influence, compute_label_scores


def make_rows(n=60, classes=3):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(n, 4, generator=generator).double()
    labels = torch.randint(0, classes, (n,), generator=generator)
    return features, labels, torch.randn(n, classes, generator=generator).double()


@pytest.mark.parametrize("tile", [8_192, 7, 1])
def test_self_influence_is_that_of_the_inverse_hessian(monkeypatch, tile):
    monkeypatch.setattr(scores, "TILE_ROWS", tile)
    features, labels, fitted = make_rows()
    others = fitted.flip(0)
    actual = compute_head_self_influence(features, labels, (fitted, others), fitted, 0.1)
    x = torch.cat([features, torch.ones(60, 1).double()], 1)
    q = fitted.softmax(1)
    for logits, influence in zip((fitted, others), actual, strict=True):
        residual = logits.softmax(1) - one_hot(labels, 3)
        expected = torch.zeros(60).double()
        for k in range(3):
            hessian = x.T @ torch.diag(q[:, k] * (1 - q[:, k])) @ x / 60 + 0.1 * torch.eye(5)
            solved = torch.linalg.solve(hessian, x.T)
            expected += residual[:, k] ** 2 * (x.T * solved).sum(0) / 60
        assert torch.allclose(influence.double(), expected, rtol=1e-5)


def test_training_margin_is_the_mean_over_gradient_descent_by_autograd():
    features, labels, logits = make_rows()
    head = fit_linear_head(features, one_hot(labels, 3).double(), 0.1)
    near = (torch.arange(60)[:, None] + torch.tensor([1, 2])) % 60
    actual = compute_label_scores(features, labels, logits, head, near, 0.1)["training_margin"]
    W, b = torch.zeros(4, 3).double().requires_grad_(), torch.zeros(3).double().requires_grad_()
    optimizer = torch.optim.SGD([W, b], lr=scores.LEARNING_RATE, momentum=scores.MOMENTUM)
    total = torch.zeros(60).double()
    for _ in range(scores.EPOCHS):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(features @ W + b, labels)
        (loss + 0.05 * W.square().sum()).backward()
        optimizer.step()
        z = (features @ W + b).detach()
        own = z.gather(1, labels[:, None])[:, 0]
        total += own - z.scatter(1, labels[:, None], -torch.inf).amax(1)
    assert torch.allclose(actual, -total / scores.EPOCHS, atol=1e-9)
