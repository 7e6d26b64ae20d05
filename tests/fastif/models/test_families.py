"""All families of sequence classifiers: results as on the page in docs/, and none wrong."""

import json
from pathlib import Path

import pytest
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as NAMES,
)

from benchmarks.families.examine import ATTRIBUTED, Verdict, examine
from benchmarks.families.methods import METHODS, examine_methods
from benchmarks.families.page import page

ROOT = Path(__file__).parents[3]
FOUND = [
    Verdict(**record)
    for record in json.loads((ROOT / "benchmarks/results/families.json").read_text())
]
QUICK = ("qwen3", "modernbert", "xlm")
"""Families in the default run: head on the last token, layers with attributes, spread layers."""


QUICK_METHODS = ("bert", "gpt2", "llama", "bart")
"""Families whose methods are in the default run: an encoder, two decoders and both."""


def _case_id(known: Verdict) -> str:
    return f"{known.family}-{known.attributed}"


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(v, marks=[] if v.family in QUICK else [pytest.mark.long], id=_case_id(v))
        for v in FOUND
        if v.attributed in ATTRIBUTED
    ],
)
def test_a_family_is_exact_or_refused(known):
    verdict = examine(known.family, known.attributed)
    assert verdict.word != "wrong", verdict.why
    assert (verdict.word, verdict.why) == (known.word, known.why)


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(f, marks=[] if f in QUICK_METHODS else [pytest.mark.long])
        for f in sorted({v.family for v in FOUND if v.attributed in METHODS})
    ],
)
def test_every_method_serves_a_family_or_refuses_it(family):
    known = {v.attributed: v.word for v in FOUND if v.family == family}
    verdicts = examine_methods(family)
    assert [v.attributed for v in verdicts] == list(METHODS)
    assert not [v for v in verdicts if v.word == "wrong"]
    assert {v.attributed: v.word for v in verdicts}.items() <= known.items()


def test_the_page_has_these_verdicts_of_every_family():
    body = (ROOT / "docs/reference/families.md").read_text().partition("| family |")[2]
    assert body == page(FOUND).partition("| family |")[2]
    assert {(v.family, v.attributed) for v in FOUND} >= {
        (family, attributed) for family in NAMES for attributed in ATTRIBUTED
    }
    assert not [v for v in FOUND if v.word == "wrong"]
