"""A study with `[solver] products` below single precision, against one in single precision."""

import numpy
import pytest
import tiny

from fastif import InputError
from tasks.planning.open_run import validate_run
from tasks.run.spec import plan_run
from tasks.study.errors import StudyError
from tasks.study.study import load_study


def _run(world, **solver):
    store, run = tiny.run_directly(tiny.write_study(world, solver=solver))
    solves = store.scan("solves", run).collect()
    return tiny.scores_by_id(store, run), solves


@pytest.mark.long
@pytest.mark.parametrize("kind", ["dual", "spectral"])
def test_scores_and_residuals_agree_with_those_in_single_precision(world, kind):
    exact, _ = _run(world, kind=kind)
    low, solves = _run(world, kind=kind, products="bf16")
    assert exact.select("query_id", "train_id").equals(low.select("query_id", "train_id"))
    effects = exact["removal_effect"].to_numpy(), low["removal_effect"].to_numpy()
    assert numpy.corrcoef(*effects)[0, 1] > 0.999
    if kind == "dual":
        assert solves["converged"].all()
        assert (solves["residual"] <= 1e-2).all()


def test_products_without_their_device_are_refused_before_anything_is_computed(world):
    study = tiny.write_study(world, solver={"kind": "dual", "products": "tf32"})
    with pytest.raises(InputError, match=r"\[solver\] products.*device of type cpu; got \"tf32\""):
        validate_run(plan_run(study))


def test_products_with_a_rank_are_refused_as_the_file_is_read(world):
    study = tiny.write_study(world, solver={"kind": "dual", "rank": 5, "products": "bf16"})
    with pytest.raises(StudyError) as raised:
        load_study(study)
    assert "[solver] products" in str(raised.value)
    assert "Remove products, or the rank." in str(raised.value)


@pytest.mark.parametrize("kind", ["cg", "lissa", "direct"])
def test_other_solvers_have_no_such_key(world, kind):
    with pytest.raises(StudyError, match="products"):
        load_study(tiny.write_study(world, solver={"kind": kind, "products": "bf16"}))
