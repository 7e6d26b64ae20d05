"""Warnings about unreliable choices, and none about reliable ones."""

import json
import math
from dataclasses import replace

from fastif.evaluation.select_damping import DampingSelection
from fastif.evaluation.select_k import KSelection, KTrial
from tasks.results.choices import (
    warn_damping_choice,
    warn_excluded_models,
    warn_k_selection,
    warn_method_selection,
)
from tasks.run.method_choice import FULL, KNN, MethodSelection


def test_an_unreliable_choice_yields_a_warning():
    dampings = (0.01, 0.1, 1.0)
    assert not list(
        warn_damping_choice(DampingSelection(0.1, "retraining", dampings, (0.2, 0.5, 0.3)))
    )
    (edge,) = warn_damping_choice(DampingSelection(1.0, "retraining", dampings, (0.2, 0.3, 0.5)))
    assert "a better one may lie beyond" in edge
    (blind,) = warn_damping_choice(
        DampingSelection(0.1, "retraining", dampings, (0.02, 0.05, 0.01))
    )
    assert "at no damping" in blind
    (nothing,) = warn_damping_choice(
        DampingSelection(0.01, "retraining", dampings, (math.nan,) * 3)
    )
    assert "at no damping" in nothing


def test_a_damping_by_the_spectrum_is_called_a_rule_of_thumb():
    choice = DampingSelection(0.1, "spectrum", (0.1,), (math.nan,))
    (thumb,) = warn_damping_choice(choice)
    assert "rule of thumb" in thumb
    assert "[training]" in thumb
    (own,) = warn_damping_choice(choice, is_retrainable=False)
    assert own.endswith("Set [curvature] damping to a tenth and to ten times it, and compare.")
    assert "[training]" not in own


def test_nearest_neighbours_always_yield_a_warning():
    choice = MethodSelection(KNN, "No other method fits.", ())
    entries = [{"at": 10, "share": 0.25, "low": 0.1, "high": 0.5}]
    entries.append({"at": 10, "share": 0.9, "low": 0.8, "high": 1.0, "label": "pos"})
    (alarm,) = warn_method_selection(choice, entries)
    assert "miss most of the influential rows" in alarm
    assert alarm.endswith("Their recall: 0.25 of the top 10 (0.10 - 0.50).")
    (alarm,) = warn_method_selection(choice, [])
    assert "since check = 0" in alarm
    full = MethodSelection(FULL, "It misses nothing.", ())
    assert list(warn_method_selection(full, [])) == []
    (late,) = warn_method_selection(replace(full, reason="It is the quickest.", fits=False), [])
    assert late == "[candidates] minutes: It is the quickest."


def test_a_k_with_low_recall_on_other_queries_yields_a_warning():
    chosen = KSelection(20, 0.95, 100, 16, (KTrial(20, 0.97, 0.9, 1.0),))
    recall = {"at": 100, "share": 0.8, "low": 0.7, "high": 0.9}
    (alarm,) = warn_k_selection(chosen, [recall])
    assert alarm.endswith("on other queries its recall is 0.80 (0.70 - 0.90).")
    unsure = recall | {"high": 0.96}
    of_a_part = [recall | {"label": "pos"}, recall | {"slice": "a"}, recall | {"method": "knn"}]
    assert list(warn_k_selection(chosen, [unsure, recall | {"at": 10}, *of_a_part])) == []


def test_a_full_scan_for_want_of_a_sufficient_k_yields_a_warning():
    tried = (KTrial(20, 0.7, 0.6, 0.8), KTrial(50, 0.6, 0.5, 0.7))
    (alarm,) = warn_k_selection(KSelection(None, 0.95, 100, 16, tried), [])
    assert "up to 50" in alarm
    assert "best: 0.70" in alarm


def test_each_model_that_is_left_out_is_named():
    left_out = [{"model": name, "agreement": 0.3, "best": 0.6} for name in ("half", "end")]
    alarms = list(warn_excluded_models(json.dumps({"left_out": left_out})))
    assert [alarm.split()[0] for alarm in alarms] == ["half", "end"]
    assert list(warn_excluded_models("{}")) == []
