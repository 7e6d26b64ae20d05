"""Mutants of solvers and of the residuals that they report."""

from tests.mutants.mutant import Mutant

_SOLVERS = "tests/fastif/solvers/test_solvers.py"
_DEFINITE = "tests/fastif/solvers/test_definiteness.py"
_DUAL = "tests/fastif/solvers/test_dual.py"
_CG = "tests/fastif/solvers/test_cg.py"
_LISSA = "tests/fastif/solvers/test_lissa.py"
_DIVERGING = "tests/fastif/solvers/test_lissa_divergence.py"
_SPECTRUM = "tests/fastif/solvers/test_lanczos.py"
_KERNEL = "tests/fastif/solvers/test_dual_scores.py"
_QUARANTINE = "tests/fastif/solvers/test_quarantine.py"

SOLVING = (
    Mutant(
        "residual of the undamped system",
        "fastif/solvers/solver.py",
        "return safe_ratio(row_norms(rhs - operator.apply(value)), row_norms(rhs))",
        "return safe_ratio(row_norms(rhs - operator.operator.apply(value)), row_norms(rhs))",
        (_SOLVERS,),
    ),
    Mutant(
        "residual that is not relative",
        "fastif/solvers/solver.py",
        "return torch.where((reference == 0) & (error == 0), 0.0, error / "
        "reference.clamp_min(tiny))",
        "return error",
        (_SOLVERS,),
    ),
    Mutant(
        "rows that diverged have no residual",
        "fastif/solvers/solver.py",
        "residual=solution.residual.masked_fill(failed, torch.inf)",
        "residual=solution.residual.masked_fill(failed, 0.0)",
        (_DIVERGING, _SOLVERS, _QUARANTINE),
    ),
    Mutant(
        "conjugate gradients report the recurrence's own residual",
        "fastif/solvers/cg.py",
        "residual = measure_residual(operator, value, rhs) if steps else safe_ratio(norm, norm)",
        "residual = safe_ratio(norm * self.tolerance, norm)",
        (_CG, _SOLVERS),
    ),
    Mutant(
        "conjugate gradients go on where the curve is negative",
        "fastif/solvers/cg.py",
        "valid = (curvature > 0) & (square > 0)",
        "valid = square > 0",
        (_CG,),
    ),
    Mutant(
        "conjugate gradients become steepest descent",
        "fastif/solvers/cg.py",
        "direction.mul_(torch.where(valid, square / previous, 0.0)[:, None]).add_(preconditioned)",
        "direction.mul_(0.0).add_(preconditioned)",
        (_CG,),
    ),
    Mutant(
        "LiSSA's steps are twice as long",
        "fastif/solvers/neumann.py",
        "self.estimate.sub_(product, alpha=1 / self.series.scale).add_(self.preconditioned_rhs)",
        "self.estimate.sub_(product, alpha=2 / self.series.scale).add_(self.preconditioned_rhs)",
        (_LISSA,),
    ),
    Mutant(
        "LiSSA always ends in convergence",
        "fastif/solvers/neumann.py",
        "self._finish_rows((residual <= tolerance) | is_last, value, residual)",
        "self._finish_rows((residual <= tolerance) | is_last, value, "
        "residual.clamp_max(tolerance))",
        (_LISSA, _SOLVERS),
    ),
    Mutant(
        "LiSSA's scale is that of the mean and not of the batch",
        "fastif/solvers/lanczos.py",
        "return _max_trace(inner, inverse) / batch",
        "return 0.0",
        (_LISSA, _SPECTRUM),
    ),
    Mutant(
        "LiSSA's divergence goes unnoticed",
        "fastif/solvers/neumann.py",
        "diverged |= norms > DIVERGENCE_FACTOR * max_norm",
        "pass",
        (_DIVERGING,),
    ),
    Mutant(
        "repeats are not averaged",
        "fastif/solvers/lissa.py",
        "mean = mean.add(change, alpha=1 / count)",
        "mean = run.value",
        (_LISSA,),
    ),
    Mutant(
        "the dual system with the damping of one example",
        "fastif/solvers/dual.py",
        "damping, weight = operator.damping, operator.damping * factored.count\n    inverse = "
        "make_shifted_inverse",
        "damping, weight = operator.damping, operator.damping\n    inverse = make_shifted_inverse",
        (_DUAL,),
    ),
    Mutant(
        "the dual residual is not measured",
        "fastif/solvers/dual.py",
        "error_norms = gram_norms(error, kernel).to(rhs.dtype)",
        "error_norm = gram_norms(error * 0, kernel).to(rhs.dtype)",
        (_DUAL, _SOLVERS),
    ),
    Mutant(
        "a kernel in another order is taken",
        "fastif/solvers/dual.py",
        "if factor_batch_size != factored.batch_size:",
        "if False:",
        (_DUAL,),
    ),
    Mutant(
        "a low-rank root whose residual is what was aimed at",
        "fastif/solvers/dual.py",
        "residual = measure_residual(operator, value, rhs)",
        "residual = safe_ratio(target.to(rhs.dtype), row_norms(rhs))",
        (_DUAL,),
    ),
    Mutant(
        "kernel scores without the number of examples",
        "fastif/solvers/dual_scores.py",
        "                example_count * dual, rhs,",
        "                dual, rhs,",
        (_KERNEL,),
    ),
    Mutant(
        "kernel scores whose residual ignores rounding",
        "fastif/solvers/dual_scores.py",
        "residual = safe_ratio(gram_norms(error, self.kernel) + rounding_error, rhs_norms)",
        "residual = safe_ratio(gram_norms(error, self.kernel), rhs_norms)",
        (_KERNEL,),
    ),
    Mutant(
        "kernel scores where rounding may be anything",
        "fastif/solvers/dual_scores.py",
        "> MAX_ROUNDING:",
        "> math.inf:",
        (_KERNEL,),
    ),
    Mutant(
        "a kernel that rounding made indefinite is inverted as it is",
        "fastif/solvers/gram.py",
        "vectors / (values.clamp_min(0) + weight).sqrt()",
        "vectors / (values + weight).abs().sqrt()",
        (_KERNEL,),
    ),
    Mutant(
        "direct in single precision",
        "fastif/solvers/direct.py",
        "operator.to_dense().double()",
        "operator.to_dense().float()",
        (_SOLVERS, "tests/fastif/solvers/test_direct.py"),
    ),
    Mutant(
        "direct takes a singular matrix",
        "fastif/solvers/direct.py",
        "        if failed:",
        "        if False:",
        ("tests/fastif/solvers/test_direct.py",),
    ),
    Mutant(
        "spectral measures its residual on EK-FAC",
        "fastif/solvers/spectral.py",
        "residual = measure_residual(operator, value, rhs)",
        "residual = measure_residual(ekfac.with_damping(operator.damping), value, rhs)",
        ("tests/fastif/solvers/test_spectral.py",),
    ),
    Mutant(
        "the top eigenvalue from below",
        "fastif/solvers/lanczos.py",
        "bound = theta + residual_bound",
        "bound = theta - residual_bound",
        (_SPECTRUM,),
    ),
    Mutant(
        "an indefinite curvature is solved with",
        "fastif/solvers/definiteness.py",
        "    if bounds.upper <= 0:\n        raise _indefinite_error(operator, bounds)\n",
        "",
        (_DEFINITE,),
    ),
    Mutant(
        "the damping that would do, too small",
        "fastif/solvers/definiteness.py",
        "needed = DAMPING_MARGIN * (operator.damping - lower) - operator.operator.ridge",
        "needed = 0.9 * (operator.damping - lower) - operator.operator.ridge",
        (_DEFINITE,),
    ),
    Mutant(
        "the penalty of training is counted twice in the damping that would do",
        "fastif/solvers/definiteness.py",
        "needed = DAMPING_MARGIN * (operator.damping - lower) - operator.operator.ridge",
        "needed = DAMPING_MARGIN * (operator.damping - lower)",
        (_DEFINITE,),
    ),
    Mutant(
        "a Ritz value is the least eigenvalue",
        "fastif/solvers/definiteness.py",
        "        lower = float(ritz[0]) - (\n"
        "            gap_ratio / (1 - gap_ratio) * spread if gap_ratio < 1 else math.inf\n"
        "        )\n",
        "        lower = float(ritz[0])\n",
        (_DEFINITE,),
    ),
    Mutant(
        "a factor of more damping settles the sign for less",
        "fastif/solvers/definiteness.py",
        "return bounds if bounds.with_damping(operator.damping).is_decided else None",
        "return bounds",
        (_DEFINITE,),
    ),
)
