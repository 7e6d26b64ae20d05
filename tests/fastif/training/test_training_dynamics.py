"""Area under the margin, from the outputs of the training steps themselves."""

import torch

import fastif
from fastif.training.training_dynamics import TrainingDynamics


def fit_linear(labels, epochs=4, watch=None):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(len(labels), 5, generator=generator) + 2 * torch.eye(3, 5)[labels]
    torch.manual_seed(0)
    objective = fastif.ModuleObjective(torch.nn.Linear(5, 3), fastif.CrossEntropy())
    recipe = fastif.TrainingConfig(epochs=epochs, learning_rate=0.05, batch_size=7)
    rows = fastif.TensorExamples(inputs, labels)
    return fastif.fit(objective, rows, recipe, on_batch=watch)


def test_the_margin_is_the_mean_over_the_epochs():
    """Recomputed one example at a time, from the recorded outputs of each step."""
    labels = torch.arange(20) % 3
    calls = []
    dynamics = TrainingDynamics(labels)

    def record_both(ids, outputs):
        calls.extend(zip(ids.tolist(), outputs.tolist(), strict=True))
        dynamics(ids, outputs)

    fit_linear(labels, watch=record_both)
    assert len(calls) == 4 * 20
    for row in range(20):
        own = int(labels[row])
        leads = [z[own] - max(z[:own] + z[own + 1 :]) for at, z in calls if at == row]
        assert len(leads) == 4
        torch.testing.assert_close(dynamics.margins[row], torch.tensor(sum(leads) / 4))


def test_recording_does_not_change_training():
    labels = torch.arange(20) % 3
    alone, watched = fit_linear(labels), fit_linear(labels, watch=TrainingDynamics(labels))
    assert all(torch.equal(alone[name], watched[name]) for name in alone)


def test_wrong_labels_have_the_lowest_margins():
    truth = torch.arange(120) % 3
    labels = truth.clone()
    labels[:6] = (labels[:6] + 1) % 3
    dynamics = TrainingDynamics(labels)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(120, 5, generator=generator) + 6 * torch.eye(3, 5)[truth]
    torch.manual_seed(0)
    objective = fastif.ModuleObjective(torch.nn.Linear(5, 3), fastif.CrossEntropy())
    fastif.fit(objective, fastif.TensorExamples(inputs, labels),
               fastif.TrainingConfig(epochs=10, learning_rate=0.05), on_batch=dynamics)  # fmt: skip
    assert set(dynamics.margins.argsort()[:6].tolist()) == set(range(6))


def test_an_example_in_no_batch_has_no_margin():
    dynamics = TrainingDynamics(torch.tensor([0, 1]))
    dynamics(torch.tensor([0]), torch.tensor([[1.0, 0.0]]))
    assert dynamics.margins[0] == 1
    assert dynamics.margins[1].isnan()
