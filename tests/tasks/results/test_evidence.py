"""The table EVIDENCE: each number of a certificate is stored, and shown where it has a label."""

from dataclasses import dataclass, field, fields, replace

import polars as pl
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from fastif.attribution.certificate import (
    Certificate,
    combine_certificates,
    concat_certificates,
    make_blank_certificate,
)
from fastif.attribution.evidence import list_evidence, per_query, take_min
from storage.schemas import SOLVES
from tasks.audit.frames import make_solves_frame
from tasks.report.reliability import check_solves
from tasks.results.diagnostics import describe_diagnostics, read_diagnostics, warn_diagnostics
from tasks.results.evidence import EVIDENCE, EvidenceRow, ReportCheck

NAN = float("nan")
OWN_COLUMNS = {"query", "reason", "resembles_gradient_product", "solver", "origin"}


def make_certificate(kind=Certificate, **numbers):
    """A certificate of two queries without missing numbers."""
    values = {
        "residual": [1e-4, 2e-4],
        "full_residual": [0.1, 0.3],
        "converged": [True, True],
        "spread": [0.01, 0.02],
        "gradient_norm": [1.0, 2.0],
        "solution_norm": [3.0, 4.0],
        "gradient_cosine": [0.5, 0.7],
        "score_correlation": [0.25, 0.75],
        "dropped": [0, 1],
        "agreement": [0.6, 0.8],
        "held": [0.4, 0.6],
        "rounding": [0.99, 0.97],
        **numbers,
    }
    tensors = {
        name: torch.tensor(value) if isinstance(value, list) else value
        for name, value in values.items()
    }
    alike = {"steps": 3, "damping": 0.1, "models": 2, "least_eigenvalue": 0.05}
    alike |= {"route": "hooks", "leverage": "on", "reasons": (None, None)}
    return kind(**{**alike, **tensors})


def test_every_number_of_a_certificate_is_a_row_and_a_column():
    names = {item.name for item in fields(Certificate)}
    assert {row.name for row in EVIDENCE} == names | {"solver"}
    assert len(EVIDENCE) == len({row.name for row in EVIDENCE})
    assert set(SOLVES.names) - OWN_COLUMNS == names - {"reasons"}


def test_a_number_without_a_label_is_only_stored():
    for row in EVIDENCE:
        assert bool(row.text or row.check) == bool(row.label), row.name
    silent = {row.name for row in EVIDENCE if not (row.text or row.check or row.warning)}
    assert silent == {
        *("reasons", "converged", "models", "steps"),
        *("gradient_norm", "solution_norm", "spread"),
    }


def test_every_number_is_shown_on_the_terminal_and_in_the_report():
    frame = make_solves_frame(torch.tensor([7, 8]), make_certificate(), "cg")
    for name in {item.name for item in fields(Certificate)} - {"reasons"}:
        assert frame[name].null_count() == 0, name
    known = read_diagnostics(frame.lazy())
    assert list(describe_diagnostics(known)) == [
        ("solver", "cg, damping 0.1, mean of 2 models"),
        ("least eigenvalue", "at least 0.05, damping included"),
        ("gradients", "hooks"),
        ("leverage of rows", "on: effects of one Newton step after the removal of a row"),
        ("largest residual", "2.0e-04"),
        ("residual on all rows", "median 0.2, largest 0.3"),
        ("cosine with gradient", "0.60 (1: the curvature has no effect)"),
        ("gradient product", "correlation 0.50; 0 of 2 queries resemble it"),
        ("agreement of models", "0.70 (rank correlation of their scores)"),
        ("scores in reduced precision", "rank correlation with full precision at least 0.9700"),
        (
            "captured effect",
            "50% of the total absolute effect, at least 40% for each query "
            "(estimated from random rows)",
        ),
    ]
    assert [(check.name, check.measured, check.passed) for check in check_solves(known)] == [
        ("residual", "2.0e-04 at most", True),
        ("residual on all rows", "median 0.2, largest 0.3", None),
        ("damping", "0.1", None),
        ("gradient product", "0.50; 0 of 2 resemble it", True),
        ("agreement of models", "0.70", None),
        ("captured effect", "50%", None),
    ]
    assert list(warn_diagnostics(known, [], [])) == [
        "1 scores are missing: the gradient of the training row is not finite."
    ]


def test_unknown_numbers_are_not_shown():
    blank = make_blank_certificate(torch.tensor([True, True]), 0.1, (None, None))
    frame = make_solves_frame(torch.tensor([0, 1]), blank, "sketch")
    known = read_diagnostics(frame.lazy())
    assert list(describe_diagnostics(known)) == [("solver", "sketch, damping 0.1")]
    assert [check.name for check in check_solves(known)] == ["damping"]
    assert list(warn_diagnostics(known, [], [])) == []


def test_each_warning_of_the_table_is_given_and_its_check_fails():
    bad = make_certificate(
        residual=[1e-4, 0.02], score_correlation=[0.999, -0.999], converged=[True, False]
    )
    frame = make_solves_frame(torch.tensor([0, 1]), replace(bad, least_eigenvalue=0.0), "cg")
    known = read_diagnostics(frame.lazy())
    assert list(warn_diagnostics(known, [], [])) == [
        "1 scores are missing: the gradient of the training row is not finite.",
        "The curvature may not be positive definite: with damping 0.1 the lower bound of its "
        "least eigenvalue is 0. Raise the damping.",
        "Most scores equal plain gradient products: the damping dominates the curvature.",
    ]
    failed = [check.name for check in check_solves(known) if check.passed is False]
    assert failed == ["residual", "gradient product"]
    assert dict(describe_diagnostics(known))["largest residual"] == (
        "2.0e-02  [1 queries did not converge]"
    )


OTHER = {
    "residual": [2e-4, 1e-4],
    "full_residual": [0.2, 0.2],
    "converged": [True, False],
    "steps": 9,
    "damping": 0.3,
    "spread": [0.0, 0.5],
    "gradient_norm": [3.0, 2.0],
    "solution_norm": [1.0, 0.0],
    "gradient_cosine": [0.6, 0.6],
    "score_correlation": [-0.5, NAN],
    "reasons": ("why", None),
    "models": 1,
    "least_eigenvalue": 0.02,
    "route": "one by one: a hook is missing",
    "leverage": "off: not asked for",
}
COMBINED = {
    "residual": [2e-4, 2e-4],
    "full_residual": [0.2, 0.3],
    "converged": [True, False],
    "steps": 9,
    "damping": 0.3,
    "spread": [0.01, 0.5],
    "gradient_norm": [2.0, 2.0],
    "solution_norm": [2.0, 2.0],
    "gradient_cosine": [0.6, 0.7],
    "score_correlation": [-0.5, 0.75],
    "reasons": ("why", None),
    "dropped": [0, 1],
    "models": 3,
    "agreement": None,
    "held": None,
    "rounding": None,
    "least_eigenvalue": 0.02,
    "route": "one by one: a hook is missing",
    "leverage": "off: not asked for",
}


def test_models_are_combined_number_by_number():
    combined = combine_certificates([make_certificate(), make_certificate(**OTHER)])
    assert set(COMBINED) == {item.name for item in fields(Certificate)}
    for name, expected in COMBINED.items():
        actual = getattr(combined, name)
        if isinstance(actual, Tensor):
            torch.testing.assert_close(actual, torch.tensor(expected), msg=name)
        else:
            assert actual == expected, name


def test_batches_are_concatenated_number_by_number():
    first, second = make_certificate(full_residual=None), make_certificate(**OTHER)
    both = concat_certificates([first, replace(second, full_residual=None)])
    for name in {item.name for item in fields(Certificate)}:
        pair, actual = (getattr(first, name), getattr(second, name)), getattr(both, name)
        if isinstance(actual, Tensor):
            assert actual.tolist()[:2] == pair[0].tolist(), name
            assert len(actual) == 4, name
    assert both.full_residual is None
    assert both.reasons == (None, None, "why", None)
    assert both.steps == 9
    assert both.route == "one by one: a hook is missing"


@dataclass(frozen=True, eq=False, kw_only=True)
class WithTrust(Certificate):
    """A certificate with an additional number."""

    trust: Tensor | None = field(default=None, metadata=per_query(take_min, needs_solution=True))


TRUST = EvidenceRow(
    "trust",
    {"trust": pl.col("trust").min()},
    label="trust",
    text="{trust:.2f} at least".format_map,
    check=ReportCheck("{trust:.2f}".format_map, "Made up.", lambda row: row["trust"] > 0.5),
    warning=lambda row: "Trust is low." if row["trust"] < 0.5 else None,
)


def test_an_additional_number_needs_a_field_a_column_and_a_row():
    """No other code names it: loops over the table do the rest."""
    models = [
        make_certificate(WithTrust, trust=[0.9, 0.2]),
        make_certificate(WithTrust, trust=[0.8, 0.4]),
    ]
    combined = combine_certificates(models)
    assert torch.equal(combined.trust, torch.tensor([0.8, 0.2]))
    failed = combined.mask_failed(torch.tensor([False, True]))
    both = concat_certificates([failed, models[1]])
    schema = SOLVES.append(pa.field("trust", pa.float32()))
    frame = make_solves_frame(torch.arange(4), both, "cg", schema)
    assert frame["trust"].to_list() == pytest.approx([0.8, None, 0.8, 0.4])
    table = (*EVIDENCE, TRUST)
    known = read_diagnostics(frame.lazy(), table)
    assert list(describe_diagnostics(known, table))[-1] == ("trust", "0.40 at least")
    last = list(check_solves(known, table))[-1]
    assert (last.name, last.measured, last.meaning, last.passed) == (
        *("trust", "0.40", "Made up.", False),
    )
    assert list(warn_diagnostics(known, [], [], table))[-1] == "Trust is low."
    older = make_certificate(WithTrust, trust=None)
    assert combine_certificates([older, models[0]]).trust is None


def test_a_field_without_a_rule_of_combination_is_refused():
    @dataclass(frozen=True, eq=False, kw_only=True)
    class Careless(Certificate):
        trust: Tensor | None = None

    with pytest.raises(TypeError, match=r"Careless.trust: expected field\(metadata=per_query"):
        list_evidence(Careless)
