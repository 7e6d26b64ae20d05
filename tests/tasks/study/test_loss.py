"""The section `[loss]`, and its effects on training, results and names of runs."""

from dataclasses import replace

import pytest
import reference
import tiny
import torch
from truth import Truth, table

from fastif.errors import InputError
from fastif.losses import CrossEntropy
from tasks.models.finetune import find_checkpoint, train_model
from tasks.planning.open_run import load_run
from tasks.run.artifact_keys import factor_digest, index_digests
from tasks.run.spec import plan_run
from tasks.study.loss import TrainingLoss
from tasks.study.study import Study, load_study
from tests.tasks.study.study_files import VALID, insert_loss, write_changed, write_file

LOSS = {"label_smoothing": 0.2, "class_weights": [0.5, 2.0]}
COUPLED = {"weight_decay": 0.05, "weight_decay_kind": "coupled"}


def test_the_loss_is_plain_cross_entropy_by_default(tmp_path):
    plain = load_study(write_file(tmp_path, VALID))
    assert plain.loss == TrainingLoss()
    assert plain.loss.build([0, 1], 2) == CrossEntropy()
    assert (plain.penalty, plain.fixed_damping, plain.loss_settings) == (0.0, 0.1, {})
    text = insert_loss("label_smoothing = 0", 'class_weights = "balanced"')
    assert load_study(write_changed(tmp_path, text)).loss.build([0, 0, 0, 1], 2).class_weights == (
        pytest.approx((2 / 3, 2.0))
    )
    by_name = insert_loss("label_smoothing = 0.1", "class_weights = {pos = 2.5, neg = 1}")
    named = load_study(write_changed(tmp_path, by_name))
    assert named.loss_settings == {"loss": {"label_smoothing": 0.1, "class_weights": [1.0, 2.5]}}
    text = insert_loss("label_smoothing = 0.1", "class_weights = [1, 2.5]")
    study = load_study(write_changed(tmp_path, text))
    assert study.loss.build([0, 1], 2) == CrossEntropy(0.1, (1.0, 2.5))
    assert study.loss_settings == {"loss": {"label_smoothing": 0.1, "class_weights": [1.0, 2.5]}}
    again = Study.model_validate_json(study.model_dump_json(), strict=True)
    assert again.model_dump() == study.model_dump()


def test_only_coupled_weight_decay_is_damping_and_decides_answers(tmp_path):
    apart = load_study(write_changed(tmp_path, insert_loss("weight_decay = 0.3")))
    assert (apart.weight_decay, apart.penalty, apart.fixed_damping) == (0.3, 0.0, 0.1)
    assert apart.loss_settings == {}
    coupled = 'weight_decay_kind = "coupled"'
    inside = load_study(write_changed(tmp_path, insert_loss("weight_decay = 0.3", coupled)))
    assert (inside.weight_decay, inside.penalty, inside.fixed_damping) == (0.3, 0.3, 0.4)
    assert inside.loss_settings == {"penalty": 0.3}
    undamped = write_changed(tmp_path, insert_loss("weight_decay = 0.3", coupled), ("= 0.1", "= 0"))
    assert load_study(undamped).fixed_damping == 0.3, "the penalty is damping enough"


@pytest.mark.parametrize(
    ("loss", "training", "decay"),
    [
        ("", "", 0.01),
        ("", "weight_decay = 0.2", 0.2),
        ("weight_decay = 0.3", "", 0.3),
        ("weight_decay = 0", "", 0.0),
        ("weight_decay = 0.2", "weight_decay = 0.2", 0.2),
        ('weight_decay_kind = "coupled"', "weight_decay = 0.2", 0.2),
    ],
)
def test_the_weight_decay_of_training_is_set_in_one_section(tmp_path, loss, training, decay):
    trained = "[store]", f'[training]\nbase = "b"\n{training}\n[store]'
    study = load_study(write_changed(tmp_path, insert_loss(loss), trained))
    assert study.weight_decay == decay
    assert study.penalty == (decay if "coupled" in loss else 0.0)


@pytest.mark.long
def test_scores_are_of_the_loss_as_trained_and_of_the_plain_loss_of_queries(world):
    study = tiny.write_study(world, loss=LOSS | COUPLED)
    store, run = tiny.run_directly(study)
    truth = Truth(
        world / "model",
        tiny.rows_of(world / "train.csv"),
        tiny.rows_of(world / "queries.csv"),
        tiny.LAST,
    )
    trained = reference.smoothed_cross_entropy(0.2, (0.5, 2.0))
    truth.train = replace(truth.train, loss=trained)
    scores = store.scan("scores", run).collect()
    expected = table(truth.effects(0.01 + 0.05), scores)
    actual = torch.tensor(scores["removal_effect"].to_list(), dtype=torch.float64)
    torch.testing.assert_close(actual, expected, rtol=2e-3, atol=1e-6)
    assert store.scan("runs", run).collect()["damping"].to_list() == [0.01 + 0.05]
    assert (store.scan("solves", run).collect()["damping"] - 0.06).abs().max() < 1e-12
    for name, problem in (("queries", truth.queries), ("train", truth.train)):
        losses = store.scan(name, run).sort("query" if name == "queries" else "train").collect()
        plain = replace(problem, loss=reference.cross_entropy)
        expected = reference.losses(plain, reference.flatten_params(plain)).detach()
        actual = torch.tensor(losses["loss"].to_list(), dtype=torch.float64)
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def read_digests(world, **changes) -> tuple[str, str, str]:
    context = load_run(plan_run(tiny.write_study(world, **changes)))
    return context.plan.record.fingerprint, index_digests(context), factor_digest(context)


@pytest.mark.long
def test_a_run_has_another_name_if_and_only_if_its_results_differ(world):
    plain, index, factor = read_digests(world)
    assert "loss" not in plan_run(world / "study.toml").record.parts
    for same in ({"weight_decay": 0.5}, {"label_smoothing": 0.0}):
        assert read_digests(world, loss=same) == (plain, index, factor), same
    penalised, *rest = read_digests(world, loss=COUPLED)
    assert penalised != plain
    assert rest == [index, factor], "no kernel has the penalty"
    direct = read_digests(world, solver={"kind": "direct"})[2]
    assert read_digests(world, solver={"kind": "direct"}, loss=COUPLED)[2] != direct
    for other in ({"label_smoothing": 0.1}, {"class_weights": "balanced"}):
        run, same_index, other_factor = read_digests(world, loss=other)
        assert run != plain
        assert same_index == index
        assert other_factor != factor


def test_balanced_weights_of_a_label_without_rows_are_refused(world):
    study = tiny.write_study(
        world, top={"labels": [*tiny.LABELS, "none"]}, loss={"class_weights": "balanced"}
    )
    plan = plan_run(study)
    with pytest.raises(InputError, match="each of the 3 classes"):
        plan.inputs.study.loss.build(plan.inputs.train.labels, 3)


def train_with_loss(world, **loss: object) -> dict[str, torch.Tensor]:
    """Train a model with this loss; return it with the reported loss."""
    study = tiny.write_study(
        world,
        model={"path": "out/trained"},
        training={"base": "base", "epochs": 3, "learning_rate": 5e-3, "batch_size": 16},
        loss=loss,
    )
    assert find_checkpoint(study) is None, "another loss is another checkpoint"
    result = train_model.fn(str(study))
    assert find_checkpoint(study) is not None
    context = load_run(plan_run(study))
    whole = context.train_examples.take(torch.arange(len(context.train_examples)))
    outputs = context.objective.outputs(context.objective.params, whole)
    plain = torch.nn.functional.cross_entropy(outputs, whole["labels"])
    assert result.loss == pytest.approx(float(plain.detach()), abs=1e-5)
    return dict(context.objective.params)


@pytest.mark.long
def test_training_minimises_the_loss_that_the_section_describes(world):
    plain = train_with_loss(world)
    for loss in (
        {"label_smoothing": 0.3},
        {"class_weights": [0.2, 3.0]},
        {"weight_decay": 0.5},
        {"weight_decay": 0.5, "weight_decay_kind": "coupled"},
    ):
        other = train_with_loss(world, **loss)
        assert any(not torch.equal(plain[name], tensor) for name, tensor in other.items()), loss


@pytest.mark.long
def test_weights_move_the_predictions_to_the_heavy_label(world):
    """A model trained with nearly all weight on one label prefers this label."""
    chances = []
    for weights in ([1.9, 0.1], [0.1, 1.9]):
        train_with_loss(world, class_weights=weights)
        context = load_run(plan_run(world / "study.toml"))
        batch = context.train_examples.take(torch.arange(len(context.train_examples)))
        outputs = context.objective.outputs(context.objective.params, batch)
        chances.append(float(outputs.softmax(1)[:, 1].mean()))
    assert chances[0] + 0.2 < chances[1]
