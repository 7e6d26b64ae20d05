"""The table of options shows what can be done and is worth it, and marks one."""

import re

import pytest
import tiny
from rich.console import Console

from fastif.evaluation.curvature_agreement import AgreementPoint, CurvatureAgreement
from fastif.solvers.settings import DualSettings
from tasks.planning import options, options_table
from tasks.planning.options_table import list_worthwhile, recommend, render_options
from tasks.run.agreement import AgreementRecord
from tasks.run.artifact_keys import agreement_digest
from tasks.run.budget_selection import Option, Settings
from tasks.run.selections import AGREEMENT
from tasks.study.candidates import FullScanSection
from tasks.study.index_sections import SketchSection
from tests.tasks.planning.planned_study import plan_study

FULL = FullScanSection()


def option(rows, seconds, candidates=FULL, lacks=""):
    return Option(Settings(rows, DualSettings(), candidates), seconds=seconds, lacks=lacks)


def test_slower_and_less_accurate_options_are_left_out_but_for_the_own_one():
    every = [option(None, 900.0), option(2048, 950.0), option(1024, 400.0), option(512, 500.0)]
    impossible = option(600, 1.0, lacks="memory")
    shown = list_worthwhile([*every, impossible], every[3].settings)
    assert shown == [every[0], every[2], every[3]]


def test_the_first_the_last_and_the_own_option_remain_of_many():
    every = [option(1000 - i, 900.0 * 0.8**i) for i in range(20)]
    shown = list_worthwhile(every, every[7].settings)
    assert len(shown) == options_table.MOST
    assert shown[0] == every[0]
    assert shown[-1] == every[-1]
    assert every[7] in shown


def test_the_most_accurate_within_the_limit_is_recommended_or_the_quickest_exact_one():
    scores = option(512, 5.0, SketchSection(k=9, rescore=False))
    slow, quick = option(None, 900.0), option(512, 100.0)
    middle = option(600, 150.0)
    own = slow.settings
    assert recommend([slow, middle, quick, scores], 1000.0, own) is slow
    assert recommend([slow, middle, quick, scores], 500.0, own) is middle
    assert recommend([slow, middle, quick, scores], 50.0, own) is quick
    assert recommend([slow, middle, quick, scores], 50.0, middle.settings) is middle
    assert recommend([scores], 50.0, own) is None


@pytest.mark.long
def test_the_table_of_a_study(world, monkeypatch):
    monkeypatch.setattr(options, "SAMPLE_SIZES", (16, 8))
    study = tiny.write_study(world, curvature={"rows": 8}, candidates={"kind": "full"})
    store, run = tiny.run_directly(study)
    _, context = plan_study(study)
    text = render(context)
    assert len(re.findall("this study", text)) == 1
    assert len(re.findall("recommended", text)) == 1
    assert re.search(r'To set \d: \[curvature\] rows = "all"', text)
    assert "exact" in text
    assert "0.93" not in text
    point = AgreementPoint(8, 0.93, 0.9, 0.95, 0.9, 0.8, 0.8)
    AGREEMENT.write(
        store,
        agreement_digest(context),
        AgreementRecord(CurvatureAgreement((point,), 8, 0.01, 3)),
    )
    store.layout.manifest(run, "finish").unlink()
    tiny.run_directly(study)
    assert "0.93 (measured in this store)" in render(plan_study(study)[1])
    other = {"candidates": {"kind": "full"}, "curvature": {"rows": 8, "damping": 0.5}}
    assert "0.93" not in render(plan_study(tiny.write_study(world, **other))[1])


def render(context):
    console = Console(width=300)
    with console.capture() as capture:
        table, lines = render_options(context)
        console.print(table)
    return capture.get() + "\n".join(lines)
