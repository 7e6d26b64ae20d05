"""Layerwise effects sum to the stored scores, the mean of two models."""

import pytest
import tiny
from command_line import run, run_refused

from tasks.audit.layers import compute_layer_effects
from tasks.results.explained_query import explain_query
from tasks.run.spec import plan_run


@pytest.fixture(scope="module")
def audited(made, tmp_path_factory):
    """A study of two models, its store and its run; only read."""
    world = tiny.copy(made, tmp_path_factory.mktemp("layers") / "world")
    tiny.make_other(world, "other", 1)
    changes = {"parameters": {"attributed": "last:2"}, "top": {"models": ["other"]}}
    study = tiny.write_study(world, candidates={"kind": "full", "keep": 5}, **changes)
    return study, *tiny.run_directly(study)


@pytest.mark.long
def test_layerwise_effects_sum_to_the_stored_scores(audited):
    study, store, name = audited
    explained = explain_query(store, name, 5, 4)
    layers = compute_layer_effects(plan_run(study, name), explained)
    shown = [*explained.harmful, *explained.helpful]
    assert len(layers.names) > 3
    assert [train for train, _ in layers.rows] == [row["train_id"] for row in shown]
    largest = max(abs(row["removal_effect"]) for row in shown)
    for row, (_, effects) in zip(shown, layers.rows, strict=True):
        assert len(effects) == len(layers.names)
        assert sum(effects) == pytest.approx(
            row["removal_effect"], abs=3e-3 * largest
        )  # solved separately
        assert sum(effect != 0 for effect in effects) > 2
    code, out, message = run("top", "query-5", "--study", study, "-k", "2", "--layers")
    assert code == 0, message
    table = out.split("examples by layer")[1]
    for name in layers.names:
        assert name in table
    ends = [explained.harmful[:2], explained.helpful[:2]]
    sums = [sum(row["removal_effect"] for row in end) for end in ends]
    last = next(line for line in table.splitlines() if " all " in line)
    printed = [float(word) for word in last.replace("│", " ").split()[1:]]
    assert printed == pytest.approx(sums, abs=2e-3 * max(map(abs, sums)) + 1e-4)


def test_a_study_that_has_changed_since_is_refused(audited):
    study, *_ = audited
    changed = study.with_name("changed.toml")
    changed.write_text(study.read_text("utf-8").replace("0.01", "0.02"), "utf-8")
    assert changed.read_text("utf-8") != study.read_text("utf-8")
    run_refused(study.parent, "top", "query-5", "--study", changed, "--layers")
