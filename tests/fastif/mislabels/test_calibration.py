"""Temperature scaling with biases, and stacking, on synthetic logits and against scikit-learn."""

import torch
from sklearn.linear_model import LogisticRegression

from fastif.mislabels.calibration import calibrate_logits, stack_logits


def test_calibration_recovers_the_temperature_and_the_biases():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4000, 3, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    calibrated = calibrate_logits(logits / 10 + torch.tensor([0.0, 1.0, 0.0]), labels)
    assert (calibrated.softmax(1) - logits.softmax(1)).abs().mean() < 0.02


def test_stacking_weights_match_logistic_regression():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    good = 0.5 * torch.eye(2)[labels] + torch.randn(400, 2, generator=generator)
    noise = torch.randn(400, 2, generator=generator)
    logits = torch.randn(5, 2, generator=generator), torch.randn(5, 2, generator=generator)
    actual = stack_logits([(logits[0], good), (logits[1], noise)], labels)
    lead = torch.stack([z[:, 1] - z[:, 0] for z in (good, noise)], 1).numpy()
    other = LogisticRegression(C=1e6, fit_intercept=False, tol=1e-8).fit(lead, labels.numpy())
    reference = sum(float(a) * z for a, z in zip(other.coef_[0], logits, strict=True))
    assert torch.allclose(actual, reference, atol=1e-3)
