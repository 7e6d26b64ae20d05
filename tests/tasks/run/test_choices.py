"""A context has the selections in its store when it is opened, whichever process made them."""

import shutil
from dataclasses import replace

import pytest
from handmade_context import make_context

from fastif.evaluation.select_damping import DampingSelection
from fastif.evaluation.select_k import KSelection, KTrial
from storage import StoreError
from tasks.run.artifact_keys import damping_digest, factor_digest, k_digest
from tasks.run.choices import resolve_choices
from tasks.run.context import Memo
from tasks.run.members import replace_study
from tasks.run.selections import DAMPING, K
from tasks.run.spec import open_store
from tasks.study.candidates import FullScanSection

OPEN = {
    "curvature": {"damping": "auto"},
    "training": {"base": "base"},
    "candidates": {"kind": "knn", "target_recall": 0.9},
}
CHOSEN = DampingSelection(0.1, "retraining", (0.01, 0.1, 1.0), (0.1, 0.5, 0.2), 0.02, (0.5,))
OTHER = DampingSelection(1.0, "retraining", (0.1, 1.0), (0.1, 0.2), 0.0, (0.2,))
TRIALS = (KTrial(1, 0.5, 0.4, 0.6), KTrial(2, 0.95, 0.9, 1.0))


def test_settings_of_the_study_are_known_without_a_store(tmp_path):
    context = make_context(tmp_path, curvature={"damping": 0.3})
    assert resolve_choices(context) is context
    assert (context.known_damping, context.damping, context.existing_store) == (0.3, 0.3, None)
    with pytest.raises(StoreError, match="a missing folder"):
        context.store  # noqa: B018


def test_settings_are_unknown_before_they_are_selected(tmp_path):
    context = make_context(tmp_path, **OPEN)
    store = open_store(context.plan)
    opened = resolve_choices(context)
    assert (opened.store, opened.known_damping, opened.k_selection) == (store, None, None)
    assert resolve_choices(opened) is opened
    with pytest.raises(AssertionError, match="selected before"):
        opened.damping  # noqa: B018


def test_an_open_context_gets_selections_of_other_processes(tmp_path):
    """The second process opens the run before the first one selects."""
    first, second = (make_context(tmp_path, **OPEN) for _ in range(2))
    open_store(first.plan)
    first, second = resolve_choices(first), resolve_choices(second)
    undamped = factor_digest(second)
    DAMPING.write(first.store, damping_digest(first), CHOSEN)
    second = resolve_choices(second)
    assert second.damping_choice == CHOSEN
    assert second.damping == 0.1 + 0.02
    assert (factor_digest(second) != undamped) == first.solver.factor_depends_on_damping
    first = resolve_choices(first)
    K.write(first.store, k_digest(first), KSelection(2, 0.9, 100, 16, TRIALS))
    second = resolve_choices(second)
    assert second.k_selection == KSelection(2, 0.9, 100, 16, TRIALS)
    assert getattr(second.candidates, "k", None) == 2
    assert getattr(second.study.candidates, "k", None) is None, (
        "the settings of the study are unchanged"
    )


def test_k_is_stored_by_the_damping_it_was_selected_with(tmp_path):
    context = make_context(tmp_path, **OPEN)
    context = replace(context, existing_store=open_store(context.plan))
    DAMPING.write(context.store, damping_digest(context), CHOSEN)
    K.write(context.store, k_digest(context), KSelection(1, 0.9, 100, 16, TRIALS[:1]))
    opened = resolve_choices(context)
    assert opened.damping_choice is not None
    assert opened.k_selection is None, "cached before the damping was selected"


def test_every_row_is_scored_if_no_k_reaches_the_target(tmp_path):
    candidates = {"kind": "knn", "target_recall": 0.9}
    context = make_context(tmp_path, candidates=candidates)
    store = open_store(context.plan)
    K.write(store, k_digest(context), KSelection(None, 0.9, 100, 16, TRIALS[:1]))
    assert isinstance(resolve_choices(context).candidates, FullScanSection)


def test_each_model_has_its_own_damping_and_the_worst_is_excluded(tmp_path):
    context = make_context(tmp_path, models=2, **OPEN)
    store = open_store(context.plan)
    worse = replace(CHOSEN, agreement=(0.0, 0.1, 0.0), by_query=(0.1,) * 20)
    better = replace(CHOSEN, by_query=(0.5,) * 20)
    for member, choice in zip(context.members, (worse, better), strict=True):
        DAMPING.write(store, damping_digest(member), choice)
    opened = resolve_choices(context)
    assert [member.damping_choice for member in opened.members] == [worse, better]
    assert opened.excluded_members == [0]
    assert opened.averaged_members == opened.others


def test_selections_are_lost_with_a_removed_store(tmp_path):
    context = make_context(tmp_path, **OPEN)
    store = open_store(context.plan)
    DAMPING.write(store, damping_digest(context), CHOSEN)
    opened = resolve_choices(context)
    shutil.rmtree(store.layout.root)
    assert resolve_choices(opened).known_damping is None


def test_values_are_cached_by_the_selections_they_depend_on(tmp_path):
    context = make_context(tmp_path, **OPEN)
    store = open_store(context.plan)
    context.memo.get("train", lambda: "states")
    context.memo.get(("search", context.choices), lambda: "of no choice")
    DAMPING.write(store, damping_digest(context), OTHER)
    opened = resolve_choices(context)
    assert opened.memo.get("train", lambda: "again") == "states"
    assert opened.memo.get(("search", opened.choices), lambda: "anew") == "anew"
    resized = replace_study(opened, opened.study)
    assert resized.memo.get("train", lambda: "again") == "again", (
        "the cache key depends on the settings"
    )
    assert resized.damping_choice == OTHER


def test_a_memo_computes_a_value_once_even_if_it_is_none():
    memo, calls = Memo(), []
    assert [memo.get("a", lambda: calls.append(1)) for _ in range(2)] == [None, None]
    assert calls == [1]
