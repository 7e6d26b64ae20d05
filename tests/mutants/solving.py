"""Mutants of solvers and of the residuals that they report."""

from tests.mutants.mutant import Mutant

_SOLVERS = "tests/fastif/test_solvers.py"
_DEFINITE = "tests/fastif/test_definite.py"
_DUAL = "tests/fastif/test_dual.py"
_CG = "tests/fastif/test_cg.py"
_LISSA = "tests/fastif/test_lissa.py"
_SPECTRUM = "tests/fastif/test_spectrum.py"
_KERNEL = "tests/fastif/test_kernel_scores.py"
_QUARANTINE = "tests/fastif/test_quarantine.py"

SOLVING = (
    Mutant(
        "residual of the undamped system",
        "fastif/solvers/solver.py",
        "return relative(lengths(rhs - operator.apply(value)), lengths(rhs))",
        "return relative(lengths(rhs - operator.operator.apply(value)), lengths(rhs))",
        (_SOLVERS,),
    ),
    Mutant(
        "residual that is not relative",
        "fastif/solvers/solver.py",
        "return torch.where((size == 0) & (error == 0), 0.0, error / size.clamp_min(tiny))",
        "return error",
        (_SOLVERS,),
    ),
    Mutant(
        "rows that diverged have no residual",
        "fastif/solvers/solver.py",
        "residual=solution.residual.masked_fill(bad, torch.inf)",
        "residual=solution.residual.masked_fill(bad, 0.0)",
        (_LISSA, _SOLVERS, _QUARANTINE),
    ),
    Mutant(
        "conjugate gradients report the recurrence's own residual",
        "fastif/solvers/cg.py",
        "residual = measured_residual(operator, value, rhs) if steps else relative(norm, norm)",
        "residual = relative(norm * self.tolerance, norm)",
        (_CG, _SOLVERS),
    ),
    Mutant(
        "conjugate gradients go on where the curve is negative",
        "fastif/solvers/cg.py",
        "fit = (curve > 0) & (square > 0)",
        "fit = square > 0",
        (_CG,),
    ),
    Mutant(
        "conjugate gradients become steepest descent",
        "fastif/solvers/cg.py",
        "direction.mul_(torch.where(fit, square / before, 0.0)[:, None]).add_(solved)",
        "direction.mul_(0.0).add_(solved)",
        (_CG,),
    ),
    Mutant(
        "LiSSA's steps are twice as long",
        "fastif/solvers/neumann.py",
        "self.estimate.sub_(product, alpha=1 / self.series.scale).add_(self.pull)",
        "self.estimate.sub_(product, alpha=2 / self.series.scale).add_(self.pull)",
        (_LISSA,),
    ),
    Mutant(
        "LiSSA always ends in convergence",
        "fastif/solvers/neumann.py",
        "self._end((residual <= goal) | last, value, residual)",
        "self._end((residual <= goal) | last, value, residual.clamp_max(goal))",
        (_LISSA, _SOLVERS),
    ),
    Mutant(
        "LiSSA's scale is that of the mean and not of the batch",
        "fastif/solvers/lanczos.py",
        "return _largest_trace(inner, inverse) / batch",
        "return 0.0",
        (_LISSA, _SPECTRUM),
    ),
    Mutant(
        "LiSSA's divergence goes unnoticed",
        "fastif/solvers/neumann.py",
        "lost |= length > TOO_LONG * longest",
        "pass",
        (_LISSA,),
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
        "damping, weight = operator.damping, operator.damping * rooted.count\n"
        "    inverse = shifted_inverse",
        "damping, weight = operator.damping, operator.damping\n    inverse = shifted_inverse",
        (_DUAL,),
    ),
    Mutant(
        "the dual residual is not measured",
        "fastif/solvers/dual.py",
        "length = kernel_norms(error, kernel).to(rhs.dtype)",
        "length = kernel_norms(error * 0, kernel).to(rhs.dtype)",
        (_DUAL, _SOLVERS),
    ),
    Mutant(
        "a kernel in another order is taken",
        "fastif/solvers/dual.py",
        "if taken_with != rooted.batch_size:",
        "if False:",
        (_DUAL,),
    ),
    Mutant(
        "a low-rank root whose residual is what was aimed at",
        "fastif/solvers/dual.py",
        "residual = measured_residual(operator, value, rhs)",
        "residual = relative(goal.to(rhs.dtype), lengths(rhs))",
        (_DUAL,),
    ),
    Mutant(
        "kernel scores without the number of examples",
        "fastif/solvers/dual_scores.py",
        "self._told(examples * dual, rhs, self.scored or self.at)",
        "self._told(dual, rhs, self.scored or self.at)",
        (_KERNEL,),
    ),
    Mutant(
        "kernel scores whose residual ignores rounding",
        "fastif/solvers/dual_scores.py",
        "residual = relative(kernel_norms(error, self.kernel) + added, size)",
        "residual = relative(kernel_norms(error, self.kernel), size)",
        (_KERNEL,),
    ),
    Mutant(
        "kernel scores where rounding may be anything",
        "fastif/solvers/dual_scores.py",
        "> MOST_ROUNDING:",
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
        "operator.dense().double()",
        "operator.dense().float()",
        (_SOLVERS, "tests/fastif/test_direct.py"),
    ),
    Mutant(
        "direct takes a singular matrix",
        "fastif/solvers/direct.py",
        "        if failed:",
        "        if False:",
        ("tests/fastif/test_direct.py",),
    ),
    Mutant(
        "spectral measures its residual on EK-FAC",
        "fastif/solvers/spectral.py",
        "residual = measured_residual(operator, value, rhs)",
        "residual = measured_residual(ekfac.damped(operator.damping), value, rhs)",
        ("tests/fastif/test_spectral.py",),
    ),
    Mutant(
        "the top eigenvalue from below",
        "fastif/solvers/lanczos.py",
        "bound = theta + rest",
        "bound = theta - rest",
        (_SPECTRUM,),
    ),
    Mutant(
        "an indefinite curvature is solved with",
        "fastif/solvers/definiteness.py",
        "    if least.reached <= 0:\n        raise _indefinite(operator, least)\n",
        "",
        (_DEFINITE,),
    ),
    Mutant(
        "the damping that would do, too small",
        "fastif/solvers/definiteness.py",
        "needed = MARGIN * (operator.damping - bound) - operator.operator.ridge",
        "needed = 0.9 * (operator.damping - bound) - operator.operator.ridge",
        (_DEFINITE,),
    ),
    Mutant(
        "the penalty of training is counted twice in the damping that would do",
        "fastif/solvers/definiteness.py",
        "needed = MARGIN * (operator.damping - bound) - operator.operator.ridge",
        "needed = MARGIN * (operator.damping - bound)",
        (_DEFINITE,),
    ),
    Mutant(
        "a Ritz value is the least eigenvalue",
        "fastif/solvers/definiteness.py",
        "bound = float(ritz[0]) - (part / (1 - part) * spread if part < 1 else math.inf)",
        "bound = float(ritz[0])",
        (_DEFINITE,),
    ),
    Mutant(
        "a factor of more damping settles the sign for less",
        "fastif/solvers/definiteness.py",
        "return least if least.damped(operator.damping).settled else None",
        "return least",
        (_DEFINITE,),
    ),
)
