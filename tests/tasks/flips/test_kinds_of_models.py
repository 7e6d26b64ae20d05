"""The flip set of every kind of model: the prediction is that of the model's own library."""

from functools import partial

import pytest
from model_kinds import make_adapter, make_decoder, make_images, make_own

from tasks.audit.prepare import factor_curvature
from tasks.audit.select_damping import choose_damping
from tasks.flips.find_flip import find_flip
from tasks.flips.flip_request import FlipRequest
from tasks.planning.start_run import start_run
from tasks.run.spec import plan_run

KINDS = {"decoder": make_decoder, "adapter": make_adapter, "images": make_images}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) for name in ("own", *KINDS)]
)
def test_prediction_and_margin_are_those_of_the_model(tmp_path, monkeypatch, name):
    make = KINDS.get(name, partial(make_own, patch=monkeypatch))
    kind = make(tmp_path / "study")
    plan = plan_run(kind.write())
    start_run(plan)
    choose_damping.fn(plan.ref)
    factor_curvature.fn(plan.ref)
    outputs = kind.compute_logits(kind.model, "queries")[2]
    ordered = outputs.sort(descending=True).values
    for relabel in (False, True):
        answer = find_flip.fn(FlipRequest(2, relabel, 4), plan.ref)
        assert answer.prediction == kind.labels[int(outputs.argmax())]
        assert answer.margin == pytest.approx(float(ordered[0] - ordered[1]), rel=1e-3, abs=1e-4)
        assert len(answer.rows) <= 4
        assert answer.is_flip or answer.corrected_margin >= 0
        assert answer.query_id == plan.inputs.queries.ids[2]
