"""An indefinite curvature is refused with a sufficient damping; reference by eigvalsh."""

import copy
import re

import pytest
import reference
import torch
from cases import case, token_examples, transformer

from fastif import (
    Attributor,
    ConjugateGradient,
    CrossEntropy,
    Direct,
    Dual,
    Ensemble,
    GaussNewton,
    Gradients,
    Hessian,
    InputError,
    Lissa,
    ModuleObjective,
    TensorExamples,
    TransformerObjective,
    self_influence,
)
from fastif.curvature import DenseOperator
from fastif.solvers.definiteness import (
    MIN_EIGENVALUE,
    add_min_eigenvalue,
    bound_min_eigenvalue,
    find_sufficient_damping,
    require_positive_definite,
)

SOLVERS = [Direct(), ConjugateGradient(max_steps=2000), Lissa(batch=9)]
IDS = torch.arange(3)


def _hessian(name="mlp"):
    made = case(name)
    return made, torch.linalg.eigvalsh(reference.hessian(made.problem))


def _attributor(made, damping, solver):
    operator = Hessian(made.objective, made.train).with_damping(damping)
    return Attributor(made.objective, made.train, operator, solver)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.kind)
def test_too_little_damping_is_refused_with_a_sufficient_one(solver):
    made, values = _hessian()
    too_little = float(-values[0]) / 2
    refused = _attributor(made, too_little, solver)
    with pytest.raises(InputError, match="positive definite") as caught:
        refused(made.train, IDS)
    damping = float(re.search(r"damping of ([\d.e-]+) or more", str(caught.value)).group(1))
    assert float(-values[0]) < damping < 1.2 * float(-values[0])
    answer = _attributor(made, damping, solver)(made.train, IDS)
    least = answer.certificate.least_eigenvalue
    assert 0 < least <= damping + float(values[0]) + 1e-6


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.kind)
def test_a_self_influence_of_an_indefinite_curvature_is_refused(solver):
    made, values = _hessian()
    gradients, hessian = Gradients(made.objective), Hessian(made.objective, made.train)
    with pytest.raises(InputError, match="positive definite"):
        self_influence(gradients, made.train, hessian.with_damping(float(-values[0]) / 2), solver)
    enough = hessian.with_damping(float(-values[0]) * 1.5)
    assert (self_influence(gradients, made.train, enough, solver) > 0).all()


def test_a_member_of_an_ensemble_is_refused_too():
    made, values = _hessian()
    good, bad = (_attributor(made, factor * float(-values[0]), Direct()) for factor in (2.0, 0.5))
    with pytest.raises(InputError, match="positive definite"):
        Ensemble([good, bad])(made.train, IDS)


@pytest.mark.parametrize("solver", [Direct(), ConjugateGradient(), Dual(), Lissa()])
def test_the_bound_of_a_gauss_newton_matrix_is_its_damping(solver):
    made = case("mlp")
    operator = GaussNewton(made.objective, made.train).with_damping(0.3)
    certificate = Attributor(made.objective, made.train, operator, solver)(
        made.train, IDS
    ).certificate
    assert certificate.least_eigenvalue == 0.3
    assert MIN_EIGENVALUE not in add_min_eigenvalue(operator, solver.factor(operator))


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("least", [-0.5, -1e-3, 1e-4, 0.0])
@pytest.mark.parametrize("size", [1, 2, 40, 700])
def test_the_bound_holds_for_difficult_spectra(size, least, kind):
    """Clusters at 0 and one eigenvalue below them, which the first Lanczos steps do not resolve."""
    generator = torch.Generator().manual_seed(size)
    basis, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    spectra = (
        torch.logspace(-8, 1, size, dtype=torch.float64),
        torch.zeros(size, dtype=torch.float64),
        torch.linspace(0.5, 2, size, dtype=torch.float64),
    )
    for values in spectra:
        values[0] = least
        matrix = ((basis * values) @ basis.T).to(kind)
        for damping in (0.2, 1e-3):
            estimate = bound_min_eigenvalue(DenseOperator(matrix), damping)
            rounding = 1e-6 * float(values.abs().max())
            assert estimate.lower - rounding <= values.min() <= estimate.upper + rounding
            if values.min() + damping > 0.1:
                assert estimate.lower + damping > 0, "this damping is found sufficient"
            if estimate.upper + damping <= 0:
                sufficient = find_sufficient_damping(
                    DenseOperator(matrix).with_damping(damping), estimate.lower + damping
                )
                assert float(values.min()) + sufficient > 0


def test_an_undecided_bound_is_recomputed_for_less_damping():
    """A factor serves every damping, but Lanczos stops when one damping is decided."""
    values = torch.logspace(-6, 0, 900, dtype=torch.float64)
    values[0] = -1e-3
    matrix = DenseOperator(torch.diag(values))
    factor = add_min_eigenvalue(matrix.with_damping(0.5), {})
    assert add_min_eigenvalue(matrix.with_damping(0.4), factor) is factor
    assert require_positive_definite(matrix.with_damping(0.5), factor) > 0
    again = add_min_eigenvalue(matrix.with_damping(1e-5), factor)
    assert float(again[MIN_EIGENVALUE][2]) > float(factor[MIN_EIGENVALUE][2])


def test_the_proposed_damping_accounts_for_weight_decay():
    made, values = _hessian()
    objective, lowest = made.objective, float(-values[0])
    operator = Hessian(objective, made.train)
    object.__setattr__(objective, "penalty", lowest / 4)
    try:
        with pytest.raises(InputError) as caught:
            self_influence(Gradients(objective), made.train, operator.with_damping(0.0), Direct())
    finally:
        object.__setattr__(objective, "penalty", 0.0)
    damping = float(re.search(r"damping of ([\d.e-]+) or more", str(caught.value)).group(1))
    assert 0.75 * lowest < damping < 0.85 * lowest + 0.01


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_refused(kind):
    """A residual with two or three digits could be taken for a converged one."""
    objective = TransformerObjective(transformer("bert", kind), "last:1", half=True)
    train = token_examples(3)
    for curvature in (GaussNewton(objective, train), Hessian(objective, train)):
        with pytest.raises(InputError, match=r"single or double precision.*model\.float"):
            curvature.with_damping(0.1)
    made = case("softmax")
    module = copy.deepcopy(made.objective.module).to(kind)
    rows = TensorExamples(made.train.inputs.to(kind), made.train.labels)
    raised = GaussNewton(ModuleObjective(module, CrossEntropy()), rows).with_damping(0.1)
    assert raised.like.dtype == torch.float32  # unless half precision was requested
    with pytest.raises(InputError, match="single or double precision"):
        DenseOperator(torch.eye(2, dtype=kind)).with_damping(0.1)
