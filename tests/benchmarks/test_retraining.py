"""Measurement of effects against retraining on halves, on a convex model."""

import pytest
import torch
from torch import nn

import fastif
from benchmarks.halves_page import (
    describe_ceiling,
    make_damping_grid,
    make_method_table,
    make_tables,
    summarize_gains,
)
from benchmarks.retraining import (
    COSINE,
    EARLIER,
    EARLIER_RULE,
    GRID,
    INFLUENCE,
    PRODUCT,
    RULE,
    Plan,
    compute_influence,
    correlate_seeds,
    keep_losses,
    measure_halves,
    select_damping,
    select_methods,
)

ROWS, QUERIES = 40, 12


def make_examples(rows: int, seed: int) -> fastif.TensorExamples:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, 3, generator=generator)
    labels = (features[:, 0] + torch.randn(rows, generator=generator) > 0).long()
    return fastif.TensorExamples(features, labels)


@pytest.fixture(scope="module")
def entry() -> dict:
    model = nn.Linear(3, 2)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    recipe = fastif.TrainingConfig(10, 0.1, 0.0, 8)
    plan = Plan(
        recipe,
        halves=12,
        choice_halves=6,
        seeds=2,
        dampings=(100.0, 0.01),
        rivals={"product again": lambda _, queries, train: queries @ train.T},
        checkpoint=0.25,
        has_rule=True,
    )
    objective = fastif.ModuleObjective(model, fastif.CrossEntropy())
    return measure_halves(objective, make_examples(ROWS, 0), make_examples(QUERIES, 1), plan)


@pytest.mark.long
def test_influence_predicts_retraining_of_a_convex_model(entry):
    assert entry["lds"][f"{INFLUENCE}0.01"] > 0.7
    assert entry["seeds"] > 0.8


@pytest.mark.long
def test_the_damping_is_chosen_on_other_halves(entry):
    assert entry["choice"] != entry["lds"]
    assert entry["methods"][0]["name"] == select_damping(entry["choice"])
    assert select_damping({f"{INFLUENCE}1": 0.1, f"{INFLUENCE}2": 0.3, "gradient": 0.9}) == (
        f"{INFLUENCE}2"
    )


@pytest.mark.long
def test_rivals_are_measured_at_the_trained_weights(entry):
    """Also after the effects at the checkpoint, which are others."""
    assert entry["lds"]["product again"] == entry["lds"][PRODUCT]
    names = [method["name"].partition(", ")[0] for method in entry["methods"]]
    earlier = [EARLIER_RULE, EARLIER.removesuffix(GRID)]
    assert names == ["influence", PRODUCT, COSINE, "product again", RULE, *earlier]
    assert entry["lds"][f"{EARLIER}0.01"] != entry["lds"][f"{INFLUENCE}0.01"]


def test_each_method_with_dampings_has_one_of_its_own():
    effects = dict.fromkeys(
        (PRODUCT, COSINE, "a, damping 1", "a, damping 2", f"{INFLUENCE}1", f"{RULE}, λ = 3"),
        torch.zeros(1, 1),
    )
    choice = {"a, damping 1": 0.1, "a, damping 2": 0.2, f"{INFLUENCE}1": 0.0, PRODUCT: 0.9}
    assert list(select_methods(choice, effects)) == [
        f"{INFLUENCE}1", PRODUCT, COSINE, "a, damping 2", f"{RULE}, λ = 3",
    ]  # fmt: skip
    assert list(select_methods({}, effects)) == [f"{RULE}, λ = 3", PRODUCT, COSINE]


def test_kept_losses_are_not_computed_again(tmp_path):
    losses = [torch.tensor([1.0]), torch.tensor([2.0])]
    first = keep_losses(tmp_path / "kept", "0-0", lambda: losses.pop(0))
    again = keep_losses(tmp_path / "kept", "0-0", lambda: losses.pop(0))
    assert (first.tolist(), again.tolist(), len(losses)) == ([1.0], [1.0], 1)
    assert keep_losses(None, "0-0", lambda: losses.pop(0)).tolist() == [2.0]


def test_effects_are_in_the_order_of_the_rows():
    train, queries = make_examples(ROWS, 0), make_examples(QUERIES, 1)
    objective = fastif.ModuleObjective(nn.Linear(3, 2), fastif.CrossEntropy())
    operator = fastif.GaussNewton(objective, train).with_damping(1e6)  # nearly the identity
    attribute = fastif.Attributor(objective, train, operator, fastif.Dual(), leverage="off")
    gradients = {}
    for name, examples in (("train", train), ("queries", queries)):
        features, labels = examples.take(fastif.all_ids(examples)).values()
        errors = objective.module(features).softmax(1) - nn.functional.one_hot(labels, 2)
        outer = errors[:, :, None] * torch.cat([features, torch.ones(len(labels), 1)], 1)[:, None]
        gradients[name] = outer.flatten(1).detach().double()
    expected = gradients["queries"] @ gradients["train"].T / ROWS / 1e6
    torch.testing.assert_close(compute_influence(attribute, queries), expected, rtol=1e-3, atol=0)


def test_seeds_are_correlated_over_the_halves():
    losses = torch.tensor([[[1.0, 1.0], [2.0, 3.0]], [[2.0, 2.0], [3.0, 2.0]]])
    assert correlate_seeds(losses) == 0.0  # 1 for the first query, -1 for the second


@pytest.mark.long
def test_the_page_marks_a_damping_at_the_edge_of_the_grid(entry):
    entry = {**entry, "parameters": 8}
    tables = make_tables({"line": entry})
    assert "(edge)" in tables[0]
    assert "95 %" in summarize_gains({"line": entry})
    assert make_damping_grid({"line": entry}).count("\n| ") == 3


def test_the_ceiling_is_that_of_a_mean_of_two():
    assert "reach 0.82" in describe_ceiling({"seeds": 0.5})  # the root of 1 / 1.5
    assert "reach 0.00" in describe_ceiling({"seeds": -0.1})


@pytest.mark.long
def test_every_method_has_its_row(entry):
    assert make_method_table(entry).count("\n| ") == 1 + len(entry["methods"])
