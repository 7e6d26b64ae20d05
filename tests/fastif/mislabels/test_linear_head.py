"""The linear head against scikit-learn; its self-influence against leave-one-out training."""

import torch
from sklearn.linear_model import LogisticRegression

from fastif.mislabels.features import concat_views
from fastif.mislabels.linear_head import fit_linear_head
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
    actual = compute_head_self_influence(x.float(), truth, logits.float(), logits.float(), penalty)
    retrained = []
    for row in range(len(x)):
        kept = torch.arange(len(x)) != row
        other = fit_linear_head(x[kept], targets[kept], penalty)
        before, after = (h(x[row : row + 1]).log_softmax(1)[0, truth[row]] for h in (head, other))
        retrained.append(float(before - after))
    ranks = [torch.tensor(v).argsort().argsort().double() for v in (actual.tolist(), retrained)]
    assert torch.corrcoef(torch.stack(ranks))[0, 1] > 0.9
