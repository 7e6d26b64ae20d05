"""Certificate: every number against a dense computation."""

import pytest
import reference
import torch
from cases import case
from torch import nn

from fastif import (
    Attributor,
    ConjugateGradient,
    CrossEntropy,
    Direct,
    Dual,
    ExhaustiveSearch,
    GaussNewton,
    Hessian,
    Lissa,
    ModuleObjective,
    TensorExamples,
)
from fastif.attribution.control_sample import select_control_ids
from fastif.numerics.correlation import pearson

QUERIES = torch.tensor([1, 5, 6])


def _attributor(name="mlp", damping=0.1, ids=None, solver=None, kind=GaussNewton, **options):
    made = case(name, 12, 5)
    operator = kind(made.objective, made.train, ids).with_damping(damping)
    return Attributor(
        made.objective, made.train, operator, solver or Dual(), leverage="off", **options
    ), made


def _dense(made, damping, ids=None):
    """Queries [q p], their solutions [q p], and all training gradients [n p]."""
    train = reference.gradients(made.problem)
    matrix = reference.gauss_newton(made.problem, ids)
    damped = matrix + damping * torch.eye(len(matrix), dtype=matrix.dtype)
    return train[QUERIES], torch.linalg.solve(damped, train[QUERIES].T).T, train


@pytest.mark.parametrize("damping", [0.01, 50.0])
def test_every_number_equals_the_dense_computation(damping):
    ids = [0, 2, 3, 5, 8, 9]
    attributor, made = _attributor(damping=damping, ids=torch.tensor(ids), certify_rows=None)
    certificate = attributor(made.train, QUERIES).certificate
    rhs, solved, train = _dense(made, damping, ids)
    whole = reference.gauss_newton(made.problem) + damping * torch.eye(rhs.shape[1]).double()
    full = (rhs - solved @ whole).norm(dim=1) / rhs.norm(dim=1)
    correlation = [
        reference.pearson(s @ train.T, r @ train.T) for s, r in zip(solved, rhs, strict=True)
    ]
    for name, expected in {
        "full_residual": full,
        "gradient_norm": rhs.norm(dim=1),
        "solution_norm": solved.norm(dim=1),
        "gradient_cosine": torch.cosine_similarity(rhs, solved),
        "score_correlation": torch.tensor(correlation).double(),
    }.items():
        torch.testing.assert_close(getattr(certificate, name).double(), expected, msg=name)
    assert (certificate.residual < 1e-10).all()
    assert certificate.converged.all()
    assert certificate.reasons == (None, None, None)
    assert certificate.damping == damping
    assert (certificate.models, certificate.agreement, certificate.spread) == (1, None, None)
    assert certificate.resembles_gradient_product.tolist() == [damping == 50] * 3


def test_a_full_data_curvature_needs_no_further_sweep():
    made = case("mlp", 12)
    swept = []

    class Counted(GaussNewton):
        def factor_rows(self, batch_index):
            swept.append(batch_index)
            return super().factor_rows(batch_index)

    operator = Counted(made.objective, made.train, torch.randperm(12)).with_damping(0.1)
    attributor = Attributor(made.objective, made.train, operator, Dual(), leverage="off")
    factor = Dual().factor(operator)
    swept.clear()
    Dual().solve(operator, reference.gradients(made.problem)[QUERIES], factor)
    alone = len(swept)
    swept.clear()
    member = Attributor(made.objective, made.train, operator, Dual(), factor=factor, leverage="off")
    certificate = member.solve(made.train, QUERIES).certificate
    assert len(swept) == alone
    assert torch.equal(certificate.full_residual, certificate.residual)
    assert attributor(made.train, QUERIES).certificate.full_residual is not None


@pytest.mark.parametrize(
    ("rows", "exact"), [(None, True), (12, True), (100, True), (8, False), (0, None)]
)
def test_full_residual_by_certify_rows(rows, exact):
    ids = [0, 2, 3, 5, 8, 9]
    attributor, made = _attributor(ids=torch.tensor(ids), certify_rows=rows)
    residual = attributor(made.train, QUERIES).certificate.full_residual
    rhs, solved, _ = _dense(made, 0.1, ids)
    whole = reference.gauss_newton(made.problem) + 0.1 * torch.eye(rhs.shape[1]).double()
    truth = (rhs - solved @ whole).norm(dim=1) / rhs.norm(dim=1)
    if exact is None:
        assert residual is None
        return
    assert torch.allclose(residual, truth, rtol=1e-6) == exact
    again = attributor(made.train, QUERIES).certificate.full_residual
    assert torch.equal(residual, again), "the sample is fixed"


def test_a_hessian_has_a_full_residual_on_all_rows_only():
    ids = torch.tensor([0, 2, 3, 5, 8, 9])
    for rows, measured in ((None, True), (8, False)):
        attributor, made = _attributor(
            ids=ids, certify_rows=rows, kind=Hessian, solver=Direct(), damping=1.0
        )
        certificate = attributor(made.train, QUERIES).certificate
        assert (certificate.full_residual is not None) == measured
        if measured:
            rhs = reference.gradients(made.problem)[QUERIES]
            eye = torch.eye(rhs.shape[1], dtype=rhs.dtype)
            small = reference.hessian(made.problem, ids.tolist()) + eye
            solved = torch.linalg.solve(small, rhs.T).T
            left = rhs - solved @ (reference.hessian(made.problem) + eye)
            torch.testing.assert_close(
                certificate.full_residual, left.norm(dim=1) / rhs.norm(dim=1)
            )


@pytest.mark.default_cases("solver1")
@pytest.mark.parametrize(
    "solver", [Direct(), ConjugateGradient(), Lissa(depth=50, repeats=3, batch=4, scale=4.0)]
)
def test_the_certificate_does_not_change_the_scores(solver):
    ids = torch.tensor([0, 2, 3, 5, 8, 9])
    results = []
    for rows in (None, 6, 0):
        attributor, made = _attributor(ids=ids, certify_rows=rows, solver=solver)
        results.append(attributor(made.train, QUERIES).influences)
    for other in results[1:]:
        assert torch.equal(results[0].ids, other.ids)
        assert torch.equal(results[0].removal_effect, other.removal_effect)


def test_certificates_do_not_depend_on_the_other_queries():
    attributor, made = _attributor(ids=torch.tensor([0, 2, 3, 5]), certify_rows=8)
    together = attributor(made.train, QUERIES).certificate
    for i, query in enumerate(QUERIES):
        alone = attributor(made.train, query[None]).certificate
        for name in ("residual", "full_residual", "gradient_cosine", "score_correlation"):
            torch.testing.assert_close(getattr(alone, name)[0], getattr(together, name)[i])


def test_equal_scores_have_no_score_correlation():
    train = TensorExamples(torch.ones(6, 2).double(), torch.zeros(6, dtype=torch.long))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        objective = ModuleObjective(nn.Linear(2, 2).double(), CrossEntropy())
    operator = GaussNewton(objective, train).with_damping(0.1)
    certificate = Attributor(objective, train, operator, Dual())(
        train, torch.tensor([0])
    ).certificate
    assert torch.isnan(certificate.score_correlation).all()
    assert not certificate.resembles_gradient_product.any()


def test_the_control_sample_is_fixed_and_without_replacement():
    assert select_control_ids(10).sort().values.tolist() == list(range(10))
    few = select_control_ids(5000)
    assert len(few.unique()) == len(few) == 256
    assert torch.equal(few, select_control_ids(5000))


def test_pearson_against_the_reference():
    generator = torch.Generator().manual_seed(3)
    left, right = (torch.randn(4, 30, generator=generator).double() for _ in range(2))
    right[1] = -2 * left[1] + 5
    expected = [reference.pearson(a, b) for a, b in zip(left, right, strict=True)]
    torch.testing.assert_close(pearson(left, right), torch.tensor(expected).double())
    assert float(pearson(left, right)[1]) == pytest.approx(-1)
    assert torch.isnan(pearson(torch.full((1, 7), 0.1), torch.randn(1, 7))).all()
    assert torch.isnan(pearson(left[:, :0], right[:, :0])).all()


def test_keep_above_the_number_of_rows_keeps_all():
    attributor, made = _attributor(search=ExhaustiveSearch(100))
    assert attributor(made.train, QUERIES).influences.ids.shape == (3, 12)
