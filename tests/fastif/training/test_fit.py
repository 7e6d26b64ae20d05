"""Training and prediction."""

import pytest
import reference
import torch
from cases import token_examples, transformer
from torch import nn

from fastif import (
    CrossEntropy,
    InputError,
    ModuleObjective,
    TensorExamples,
    TrainingConfig,
    TransformerObjective,
    fit,
    predict,
)
from fastif.models.prefix_cache import PrefixCache


def _task(n: int = 60) -> tuple[ModuleObjective, TensorExamples]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(n, 4, generator=generator)
    labels = (inputs[:, 0] > inputs[:, 1]).long()
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    return ModuleObjective(module, CrossEntropy()), TensorExamples(inputs, labels)


def _loss(objective, params, examples) -> float:
    batch = examples.take(torch.arange(len(examples)))
    return float(objective.losses(params, batch).mean().detach())


def test_fit_lowers_the_loss_and_does_not_change_the_objective():
    objective, examples = _task()
    before = {name: tensor.clone() for name, tensor in objective.params.items()}
    params = fit(objective, examples, TrainingConfig(epochs=20, learning_rate=5e-2))
    assert _loss(objective, params, examples) < 0.3 * _loss(objective, before, examples)
    assert set(params) == set(before)
    assert all(torch.equal(before[name], tensor) for name, tensor in objective.params.items())
    assert not any(tensor.requires_grad for tensor in params.values())


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    objective, examples = _task()
    first, again, other = (
        fit(
            objective,
            examples,
            TrainingConfig(epochs=2, learning_rate=1e-2, batch_size=8, seed=seed),
        )
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_fitting_does_not_touch_the_global_random_state():
    objective, examples = _task()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(objective, examples, TrainingConfig(epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_progress_is_called_every_step():
    objective, examples = _task(50)
    calls = []
    fit(
        objective,
        examples,
        TrainingConfig(epochs=3, batch_size=16),
        lambda *step: calls.append(step),
    )
    assert [step for step, _, _ in calls] == list(range(1, 13))  # 4 batches, the last of 2
    assert {steps for _, steps, _ in calls} == {12}
    first_epoch = [loss for _, _, loss in calls[:4]]
    assert sum(first_epoch) / 4 == pytest.approx(0.7, abs=0.2)  # nats: about log 2 at the start


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), 1e30, 0.0, -1.0])
def test_invalid_learning_rates_are_refused(rate):
    objective, examples = _task()
    with pytest.raises(InputError, match="learning_rate"):
        fit(objective, examples, TrainingConfig(epochs=3, learning_rate=rate))


@pytest.mark.parametrize("parts", [(0.1, 0.12, 0.5), (0.5, 0.1, 0.12), (0.001, 0.01)])
def test_all_checkpoints_are_kept_even_of_the_same_step(parts):
    """8 steps: 0.1 and 0.12 both round to the first."""
    objective, examples = _task(32)
    kept = {}
    recipe = TrainingConfig(epochs=2, batch_size=8, learning_rate=1e-2)
    fit(objective, examples, recipe, on_checkpoint=kept.__setitem__, checkpoint_fractions=parts)
    assert set(kept) == set(parts)
    first = kept[min(parts)]
    for part, params in kept.items():
        same = all(torch.equal(params[name], first[name]) for name in first)
        assert same == (part < 0.15)


# Weight decay, smoothing and weights.

SOFT = torch.tensor([0.5, 2.0], dtype=torch.float64)


def _smoothed_loss(outputs, labels):
    return nn.functional.cross_entropy(outputs, labels, SOFT, reduction="none", label_smoothing=0.1)


def _plain_loss(outputs, labels):
    return nn.functional.cross_entropy(outputs, labels, reduction="none")


@pytest.mark.parametrize(
    ("loss", "reference_loss"),
    [(CrossEntropy(), _plain_loss), (CrossEntropy(0.1, SOFT.tolist()), _smoothed_loss)],
)
def test_coupled_decay_minimises_the_penalised_loss(loss, reference_loss):
    _, examples = _task(40)
    points = torch.cat([examples.inputs, torch.ones(40, 1)], 1).double()
    expected = reference.Convex(points, examples.labels, reference_loss, 2, 0.05).weights.view(2, 5)
    torch.manual_seed(0)
    objective = ModuleObjective(nn.Linear(5, 2, bias=False).double(), loss)
    train = TensorExamples(points, examples.labels)
    whole = {"epochs": 600, "learning_rate": 3e-2, "batch_size": 40, "weight_decay": 0.05}
    actual = fit(objective, train, TrainingConfig(**whole, weight_decay_kind="coupled"))["weight"]
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)
    other = fit(objective, train, TrainingConfig(**whole, weight_decay_kind="decoupled"))["weight"]
    assert (other - expected).norm() > 0.1 * expected.norm()


@pytest.mark.parametrize("kind", ["decoupled", "coupled"])
def test_decay_without_gradients(kind):
    """Inputs of zero: decoupled decay shrinks by rate x decay, and Adam rescales coupled decay."""
    train = TensorExamples(torch.zeros(4, 3), torch.tensor([0, 1, 0, 1]))
    objective = ModuleObjective(nn.Linear(3, 2, bias=False), CrossEntropy())
    before = objective.params["weight"].clone()
    recipe = TrainingConfig(
        epochs=1, batch_size=4, learning_rate=0.1, weight_decay=0.5, weight_decay_kind=kind
    )
    after = fit(objective, train, recipe)["weight"]
    expected = {"decoupled": before * (1 - 0.1 * 0.5), "coupled": before - 0.1 * before.sign()}
    torch.testing.assert_close(after, expected[kind], rtol=1e-4, atol=1e-6)


def test_unknown_kinds_of_decay_are_refused():
    with pytest.raises(InputError, match="decoupled or coupled"):
        TrainingConfig(weight_decay_kind="l2")


def test_predictions_use_the_query_measure():
    objective, examples = _task()
    trained = ModuleObjective(objective.module, CrossEntropy(0.2), measure=CrossEntropy())
    outputs, losses = predict(trained, examples)
    torch.testing.assert_close(losses, _plain_loss(outputs, examples.labels))
    torch.testing.assert_close(losses, predict(objective, examples)[1])


def test_only_attributed_parameters_move_and_a_cache_gives_the_same_weights():
    model, examples = transformer("bert"), token_examples(12)
    objective = TransformerObjective(model, "last:1")
    recipe = TrainingConfig(epochs=2, batch_size=4, learning_rate=1e-2)
    straight = fit(objective, examples, recipe)
    cached = fit(objective, PrefixCache(objective, examples, 10**9), recipe)
    assert set(straight) == set(objective.space.names)
    for name, tensor in straight.items():
        torch.testing.assert_close(tensor, cached[name], rtol=1e-6, atol=1e-8)
    assert not torch.equal(straight["classifier.weight"], objective.params["classifier.weight"])


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_predictions_come_in_the_order_of_the_examples(batch_size):
    model, examples = transformer("bert"), token_examples(11)
    objective = TransformerObjective(model, "last:1")
    outputs, losses = predict(objective, examples, batch_size)
    for i in range(11):
        single, loss = predict(objective, _select_one(examples, i))
        torch.testing.assert_close(outputs[i], single[0])
        torch.testing.assert_close(losses[i], loss[0])
    assert not outputs.requires_grad


def _select_one(examples, i: int):
    from fastif import TextExamples

    return TextExamples(
        examples.tokens[i : i + 1],
        None,
        examples.labels[i : i + 1],
        examples.truncated[i : i + 1],
        examples.padding,
    )
