"""Report of two nights of a study of tagged sentences, in every format."""

import json
from pathlib import Path

import tag_world

from tasks.audit.in_process import audit_in_process
from tasks.report.build import ReportRequest, build_report
from tasks.run.spec import plan_run


def test_report_shows_spans_and_groups_by_their_types(tmp_path):
    folder = tmp_path / "made"
    tag_world.make(folder)
    study = tag_world.write_study(folder)
    audit_in_process(plan_run(study))
    rows = tag_world.read_rows(folder, "train")
    rows[0]["tags"] = ["O"] * len(rows[0]["tags"])
    tag_world.write_rows(folder / "train.parquet", rows[:-2])
    _, run = audit_in_process(plan_run(study))
    texts = {}
    for kind in ("html", "json", "md"):
        request = ReportRequest(str(study), out=str(folder / f"report.{kind}"))
        texts[kind] = Path(build_report.fn(request).path).read_text("utf-8")
    assert json.loads(texts["json"])["run"] == run
    html = texts["html"]
    assert "types of spans" in html
    assert "PER: " in html
    assert "LOC, PER" in html
    assert "1 relabelled, 2 removed" in html
    assert "fastif spans find" in html
    assert "fastif mislabels" not in html.partition("Suspicious labels")[2].partition("<section")[0]
    assert "not searched" in html
    assert "fastif mislabels" not in html, "no place names a command that refuses these targets"
