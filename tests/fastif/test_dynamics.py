"""Margins over the epochs are those of the outputs that training itself computed."""

import torch

import fastif


def fitted(labels, epochs=4, watch=None):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(len(labels), 5, generator=generator) + 2 * torch.eye(3, 5)[labels]
    torch.manual_seed(0)
    objective = fastif.ModuleObjective(torch.nn.Linear(5, 3), fastif.CrossEntropy())
    recipe = fastif.Recipe(epochs=epochs, learning_rate=0.05, batch_size=7)
    rows = fastif.TensorExamples(inputs, labels)
    return fastif.fit(objective, rows, recipe, watch=watch)


def test_the_margin_is_the_mean_over_the_epochs():
    """Computed again, one row at a time, from what each step was told."""
    labels = torch.arange(20) % 3
    told = []
    seen = fastif.Dynamics(labels)

    def both(ids, outputs):
        told.extend(zip(ids.tolist(), outputs.tolist(), strict=True))
        seen(ids, outputs)

    fitted(labels, watch=both)
    assert len(told) == 4 * 20
    for row in range(20):
        own = int(labels[row])
        leads = [z[own] - max(z[:own] + z[own + 1 :]) for at, z in told if at == row]
        assert len(leads) == 4
        torch.testing.assert_close(seen.margins[row], torch.tensor(sum(leads) / 4))


def test_watching_changes_nothing():
    labels = torch.arange(20) % 3
    alone, watched = fitted(labels), fitted(labels, watch=fastif.Dynamics(labels))
    assert all(torch.equal(alone[name], watched[name]) for name in alone)


def test_wrong_labels_have_the_lowest_margins():
    truth = torch.arange(120) % 3
    labels = truth.clone()
    labels[:6] = (labels[:6] + 1) % 3
    seen = fastif.Dynamics(labels)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(120, 5, generator=generator) + 6 * torch.eye(3, 5)[truth]
    torch.manual_seed(0)
    objective = fastif.ModuleObjective(torch.nn.Linear(5, 3), fastif.CrossEntropy())
    fastif.fit(objective, fastif.TensorExamples(inputs, labels),
               fastif.Recipe(epochs=10, learning_rate=0.05), watch=seen)  # fmt: skip
    assert set(seen.margins.argsort()[:6].tolist()) == set(range(6))


def test_a_row_that_no_batch_had_has_none():
    seen = fastif.Dynamics(torch.tensor([0, 1]))
    seen(torch.tensor([0]), torch.tensor([[1.0, 0.0]]))
    assert seen.margins[0] == 1
    assert seen.margins[1].isnan()
