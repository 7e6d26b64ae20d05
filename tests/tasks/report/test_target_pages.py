"""Reports of two nights of studies whose targets are not one class each, in every format."""

import json
from pathlib import Path

import polars as pl
import pytest
import tiny
from target_worlds import WORLDS, make_world

from tasks.audit.in_process import audit_in_process
from tasks.report.build import ReportRequest, build_report
from tasks.run.spec import plan_run

SETTINGS = {
    "candidates": {"kind": "full", "keep": 40, "totals": True},
    "solver": {"kind": "direct"},
}


@pytest.mark.default_cases("multi-label", "number")
@pytest.mark.parametrize("name", WORLDS)
def test_reports_of_two_nights(tmp_path, name):
    folder, world = tmp_path / "made", WORLDS[name]
    make_world(folder, world)
    study = tiny.write_study(folder, **{**SETTINGS, **world.study})
    audit_in_process(plan_run(study))
    rows = pl.read_csv(folder / "train.csv")
    rows.tail(-2).write_csv(folder / "train.csv")
    _, run = audit_in_process(plan_run(study))
    texts = {}
    for kind in ("html", "json", "md"):
        request = ReportRequest(str(study), out=str(folder / f"report.{kind}"))
        texts[kind] = Path(build_report.fn(request).path).read_text("utf-8")
    assert json.loads(texts["json"])["run"] == run
    target = plan_run(study).inputs.study.target
    is_number = target == "number"
    assert ("neither right nor wrong" in texts["html"]) == is_number
    assert ("of 9 queries is" in texts["md"]) == is_number
    has_squared_units = is_number or "squared" in name
    assert ("squared units" in texts["html"]) == has_squared_units
    is_unchecked = [f"{name} were not checked" in texts["html"] for name in ("Labels", "Numbers")]
    assert is_unchecked == [target in ("class", "ordinal", "multi-label"), is_number]
    groups = {"number": "label range", "multi-label": "label set", "soft-label": "most probable"}
    if not world.study.get("queries", {}).get("groups", True):
        assert groups.get(target, "label") in texts["html"]
