"""Values assembled from a context are cached by the selections they depend on."""

from dataclasses import fields, replace

import pytest
import torch
from handmade_context import make_context

import fastif
from fastif.evaluation.select_damping import DampingSelection
from fastif.models.prefix_cache import PrefixCache
from tasks.audit.check_recall import run_full_scan
from tasks.run.artifact_keys import damping_digest
from tasks.run.assemble import make_attributor, make_member_attributor, make_search
from tasks.run.choices import resolve_choices
from tasks.run.context import RunContext
from tasks.run.curvature import make_curvature, make_operator, sample_rows
from tasks.run.hidden_states import get_query_examples, get_train_examples
from tasks.run.selections import DAMPING
from tasks.run.spec import open_store

AUTO = {"curvature": {"damping": "auto"}, "training": {"base": "base"}}
IDS = torch.arange(3)


def open_context(folder, **sections):
    context = make_context(folder, **sections)
    open_store(context.plan)
    return resolve_choices(context)


def choose(context, damping):
    selection = DampingSelection(damping, "retraining", (damping,), (0.5,))
    DAMPING.write(context.store, damping_digest(context), selection)
    return resolve_choices(context)


def test_hidden_states_are_computed_once_across_selections(tmp_path):
    before = open_context(tmp_path, **AUTO)
    train = get_train_examples(before)
    assert isinstance(train.examples, PrefixCache)
    after = choose(before, 0.5)
    assert get_train_examples(after) is train
    assert get_query_examples(after) is get_query_examples(before)
    assert make_operator(after).operator.examples is train


def test_the_queries_of_several_models_are_not_cached(tmp_path):
    context = open_context(tmp_path, models=2)
    assert get_query_examples(context) is context.query_examples
    first, second = (get_train_examples(member) for member in context.members)
    assert first is not second, "each model has separate hidden states"


def test_the_operator_is_cached_by_damping(tmp_path):
    context = choose(open_context(tmp_path, **AUTO), 0.5)
    operator = make_operator(context)
    assert operator.damping == 0.5
    assert make_operator(context) is operator
    again = DampingSelection(2.0, "retraining", (2.0,), (0.5,))
    assert make_operator(replace(context, damping_choice=again)).damping == 2.0


def test_curvature_has_the_kind_and_rows_of_the_study(tmp_path):
    kinds = {"gauss-newton": fastif.GaussNewton, "hessian": fastif.Hessian}
    for kind, expected in kinds.items():
        curvature = {"damping": 9.0, "kind": kind, "rows": 3}
        context = make_context(tmp_path, curvature=curvature, solver={"kind": "direct"})
        operator = make_curvature(context, context.train_examples, 9.0)
        assert isinstance(operator.operator, expected)
        assert sorted(operator.operator.ids.tolist()) == sample_rows(4, 3, 0).tolist()


def test_the_attributor_equals_one_built_directly(tmp_path):
    context = open_context(
        tmp_path, curvature={"damping": 0.1}, candidates={"kind": "full", "keep": 2}
    )
    attributor = make_attributor(context)
    assert make_attributor(context) is attributor
    matrix = fastif.GaussNewton(context.objective, context.train_examples)
    direct = fastif.Attributor(
        context.objective,
        context.train_examples,
        matrix.with_damping(0.1),
        fastif.Direct(),
        fastif.ExhaustiveSearch(2),
        leverage=context.study.curvature.leverage,
    )
    actual, expected = (
        call(context.query_examples, IDS).influences.removal_effect for call in (attributor, direct)
    )
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)


class Scaled(RunContext):
    """Context whose estimator has a scale of the training rows."""

    row_scale = torch.tensor([8.0, 0.5, 1.0, 2.0])


@pytest.mark.parametrize("models", [1, 2])
def test_a_scale_of_the_rows_orders_the_scores_and_the_full_scan_of_the_recall(tmp_path, models):
    sections = {"curvature": {"damping": 0.1}, "candidates": {"kind": "full", "keep": 2}}
    plain = open_context(tmp_path, models=models, **sections)
    context = Scaled(**{field.name: getattr(plain, field.name) for field in fields(plain)})
    attributor = make_attributor(context)
    assert isinstance(attributor, fastif.Ensemble)
    expected = fastif.Ensemble([make_member_attributor(m, make_search(m)) for m in plain.members])
    effects = expected(plain.query_examples, IDS).influences
    by_row = effects.removal_effect.gather(1, effects.ids.argsort(1))
    scores = by_row * Scaled.row_scale
    order = scores.argsort(1)
    for answer in (attributor(context.query_examples, IDS), run_full_scan(context, IDS)):
        influences = answer.influences
        assert torch.equal(influences.ids, order)
        torch.testing.assert_close(influences.ranking_score, scores.gather(1, order))
        torch.testing.assert_close(influences.removal_effect, by_row.gather(1, order))


def test_several_models_are_averaged_with_a_single_search(tmp_path):
    context = open_context(tmp_path, models=2, curvature={"damping": 0.1})
    ensemble = make_attributor(context)
    assert isinstance(ensemble, fastif.Ensemble)
    search = make_search(context)
    assert all(member.search is search for member in ensemble.members)
    objectives = [member.objective for member in ensemble.members]
    assert objectives == [member.objective for member in context.members]
