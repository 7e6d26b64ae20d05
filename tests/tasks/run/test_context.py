"""A context is cached between tasks, and opened again for another study or other settings."""

import pytest
import tiny

from fastif import InputError
from fastif.evaluation.select_damping import DampingSelection
from tasks.planning.open_run import load_run, open_run, validate_run
from tasks.run.artifact_keys import damping_digest, factor_digest, index_digests
from tasks.run.selections import DAMPING
from tasks.run.spec import open_store, plan_run
from tasks.study.errors import StudyError


def test_the_same_run_is_opened_once(world):
    ref = plan_run(world / "study.toml").ref
    assert open_run(ref) is open_run(ref)


def test_another_store_or_size_gives_another_context_of_the_same_run(world):
    first = plan_run(world / "study.toml").ref
    context = open_run(first)
    path = tiny.write_study(world, store={"path": "elsewhere"}, run={"batch_size": 3})
    second = plan_run(path).ref
    assert second == first
    other = open_run(second)
    assert other is not context
    assert other.study.run.batch_size == 3
    assert other.plan.store_path == world / "elsewhere"


@pytest.mark.parametrize("change", ["damping", "row"])
def test_a_study_that_changes_during_its_run_is_refused(world, change):
    ref = plan_run(world / "study.toml").ref
    if change == "damping":
        tiny.write_study(world, curvature={"damping": 0.5})
    else:
        rows = tiny.rows_of(world / "train.csv")
        tiny.write_rows(world / "train.csv", rows[1:])
    with pytest.raises(InputError, match="during a run"):
        open_run(ref)


def test_an_open_run_gets_the_damping_selected_by_another_process(world):
    """Each task opens the run; another process has selected the damping meanwhile."""
    study = tiny.write_study(
        world, curvature={"damping": "auto"}, training={"base": "base", "epochs": 1}
    )
    plan = plan_run(study)
    store = open_store(plan)
    before = open_run(plan.ref)
    assert before.known_damping is None
    chosen = DampingSelection(0.5, "retraining", (0.1, 0.5), (0.2, 0.3))
    DAMPING.write(store, damping_digest(before), chosen)
    after = open_run(plan.ref)
    assert after.damping_choice == chosen
    assert after.objective is before.objective, "the model is not loaded again"
    assert open_run(plan.ref) is after


def test_validation_writes_nothing(world):
    before = sorted(world.rglob("*"))
    validate_run(plan_run(world / "study.toml"))
    assert sorted(world.rglob("*")) == before


def test_validation_accepts_a_started_run(world):
    plan = plan_run(world / "study.toml")
    open_store(plan)
    validate_run(plan_run(world / "study.toml"))


def test_sketches_without_damping_are_refused_before_anything_is_opened(world):
    changes = {"curvature": {"damping": 0.0}, "solver": {"kind": "direct"}}
    validate_run(plan_run(tiny.write_study(world, **changes)))
    study = tiny.write_study(world, **changes, candidates={"kind": "sketch", "k": 5})
    with pytest.raises(StudyError, match='a number > 0 for candidates of kind "sketch"'):
        validate_run(plan_run(study))


def digests(world, **changes) -> tuple[tuple[str, ...], str]:
    context = load_run(plan_run(tiny.write_study(world, **changes)))
    return index_digests(context), factor_digest(context)


@pytest.mark.long
def test_artifacts_are_shared_if_and_only_if_their_inputs_are_equal(world):
    index, factor = digests(world)
    assert digests(world, run={"shard_size": 3}) == (index, factor)
    assert digests(world, curvature={"damping": 0.7}) == (index, factor), (
        "the kernel does not depend on the damping"
    )
    assert digests(world, queries={"groups": None}) == (index, factor)
    for changes in (
        {"parameters": {"attributed": "last:2"}},
        {"curvature": {"rows": 9}},
        {"curvature": {"rows": 9, "seed": 1}},
        {"run": {"batch_size": 3}},
    ):
        same_index, other_factor = digests(world, **changes)
        assert same_index == index
        assert other_factor != factor, changes
    other_index, same_factor = digests(
        world, candidates={"kind": "knn", "k": 3, "factory": "HNSW8"}
    )
    assert (other_index != index, same_factor) == (True, factor)
    assert digests(world, candidates={"kind": "knn", "k": 3})[0] == index
    longer = digests(world, model={"max_length": 12})
    assert longer[0] != index
    assert longer[1] != factor
