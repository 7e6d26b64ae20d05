"""Selections round-trip through the store and through the row of a run."""

import json

import pytest
from handmade_runs import open_store

from fastif.evaluation.curvature_agreement import AgreementPoint, CurvatureAgreement
from fastif.evaluation.select_damping import DampingSelection
from fastif.evaluation.select_k import KSelection, KTrial
from fastif.solvers.settings import ConjugateGradientSettings
from tasks.run.agreement import AgreementRecord
from tasks.run.budget_selection import BudgetSelection, Option, Settings
from tasks.run.method_choice import FULL, KNN, MethodEstimate, MethodSelection
from tasks.run.rows_selection import RowsSelection
from tasks.run.selections import AGREEMENT, BUDGET, DAMPING, METHOD, ROWS, K
from tasks.study.candidates import FullScanSection
from tasks.study.index_sections import KnnSection

OFFERS = (
    MethodEstimate(FULL, FullScanSection(), 75.5, 2**31, 3_000),
    MethodEstimate(KNN, KnnSection(k=5), 1.0, 2**20, 10, "it needs more"),
)
POINT = AgreementPoint(8, 0.5, 0.25, 0.75, 0.5, 0.5, 0.5)
SETTINGS = Settings(None, ConjugateGradientSettings(rank=7), KnnSection(k=5))
OPTION = Option(SETTINGS, ("[curvature] rows = 9",), 75.5, 2**31, 3_000, "", 9.5)
SELECTIONS = [
    (DAMPING, DampingSelection(0.1, "retraining", (0.1, 1.0), (0.5, 0.2), 0.02, (0.5, None))),
    (K, KSelection(2, 0.9, 100, 16, (KTrial(1, 0.5, 0.4, 0.6), KTrial(2, 0.95, 0.9, 1.0)))),
    (METHOD, MethodSelection(FULL, "It misses nothing.", OFFERS, fits=False)),
    (ROWS, RowsSelection(512, 4000, "All rows take too long.")),
    (AGREEMENT, AgreementRecord(lacks="it would take 2 h")),
    (AGREEMENT, AgreementRecord(CurvatureAgreement((POINT, POINT), 8, 0.01, 3))),
    (BUDGET, BudgetSelection("20min", OPTION, "They fit.", ("others",))),
]


@pytest.mark.parametrize(("kind", "selection"), SELECTIONS)
def test_a_selection_round_trips(tmp_path, kind, selection):
    store = open_store(tmp_path)
    assert kind.read(store, "aa") is None
    kind.write(store, "aa", selection)
    assert kind.read(store, "aa") == selection
    file = store.layout.root / "parts" / kind.name / "aa" / f"{kind.name}.json"
    assert json.loads(file.read_text()) == json.loads(json.dumps(kind.make_record(selection)))


@pytest.mark.parametrize(("kind", "selection"), SELECTIONS)
def test_the_first_selection_is_kept(tmp_path, kind, selection):
    store = open_store(tmp_path)
    kind.write(store, "aa", selection)
    kind.write(store, "aa", SELECTIONS[0][1] if kind is DAMPING else selection)
    assert kind.read(store, "aa") == selection


@pytest.mark.parametrize(("kind", "selection"), SELECTIONS)
def test_a_selection_is_parsed_from_the_row_of_a_run(kind, selection):
    column = json.dumps({"kind": "any", kind.key: kind.make_record(selection)})
    assert kind.parse_column(column) == selection
    assert kind.parse_column('{"kind": "any"}') is None


def test_a_damping_of_an_older_version_has_no_correlations_by_query():
    record = DAMPING.make_record(SELECTIONS[0][1])
    del record["by_query"]
    assert DAMPING.parse(record).by_query == ()
