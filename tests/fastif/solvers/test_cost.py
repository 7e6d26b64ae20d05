"""Estimated costs of the solvers, compared with recorded figures."""

import pytest

from fastif.solvers import ConjugateGradient, Direct, Dual, Lissa, Spectral
from fastif.solvers.cost import SolverCost, SolverProblem

PROBLEMS = {
    "small": SolverProblem(90, 90, 1, 30, 16),
    "sampled": SolverProblem(3500, 1200, 2, 200_000, 32),
    "whole": SolverProblem(3500, 3500, 2, 200_000, 32),
    "hessian": SolverProblem(3500, 1200, 2, 200_000, 32, is_hessian=True),
}

SOLVERS = {
    "dual": Dual(),
    "dual rank": Dual(rank=300),
    "dual blocks": Dual(block_rows=40),
    "spectral": Spectral(),
    "direct": Direct(),
    "cg none": ConjugateGradient(preconditioner="none"),
    "cg eigen": ConjugateGradient(preconditioner="eigen"),
    "cg ekfac": ConjugateGradient(preconditioner="ekfac"),
    "cg drawn": ConjugateGradient(preconditioner="drawn"),
    "cg drawn 4000": ConjugateGradient(preconditioner="drawn", rank=4000, max_steps=20),
    "lissa none": Lissa(preconditioner="none"),
    "lissa eigen": Lissa(preconditioner="eigen"),
    "lissa ekfac": Lissa(preconditioner="ekfac"),
    "lissa drawn": Lissa(preconditioner="drawn"),
    "lissa fixed": Lissa(depth=700, batch=8, repeats=4, scale=5.0),
    "lissa preset": Lissa(preset="fastif"),
}

# factor_examples, factor_products, solve_examples, scores_in_one_sweep,
# vectors_per_query, held_rows, working_bytes, factor_bytes.
FIGURES = {
    "dual, small": (90, 4_050, 270, True, 2, 90, 194_400, 32_400),
    "dual, sampled": (6_240, 2_880_000, 3_600, False, 2, 128, 138_240_000, 23_040_000),
    "dual, whole": (49_616, 24_500_000, 10_500, True, 2, 128, 1_176_000_000, 196_000_000),
    "dual rank, small": (270, 0, 630, False, 2, 90, 194_400, 32_400),
    "dual rank, sampled": (7_200, 0, 8_400, False, 2, 128, 17_280_000, 2_880_000),
    "dual rank, whole": (21_000, 0, 24_500, False, 2, 128, 50_400_000, 8_400_000),
    "dual blocks, small": (174, 4_050, 270, True, 2, 40, 194_400, 32_400),
    "dual blocks, sampled": (23_104, 2_880_000, 3_600, False, 2, 40, 138_240_000, 23_040_000),
    "dual blocks, whole": (193_160, 24_500_000, 10_500, True, 2, 40, 1_176_000_000, 196_000_000),
    "spectral, small": (270, 0, 90, False, 3, 0, 0, 0),
    "spectral, sampled": (3_600, 0, 1_200, False, 3, 0, 0, 0),
    "spectral, whole": (10_500, 0, 3_500, False, 3, 0, 0, 0),
    "direct, small": (90, 0, 90, False, 2, 0, 0, 0),
    "direct, sampled": (1_200, 0, 1_200, False, 2, 0, 0, 0),
    "direct, whole": (3_500, 0, 3_500, False, 2, 0, 0, 0),
    "direct, hessian": (3_750_000, 0, 1_200, False, 2, 0, 0, 0),
    "cg none, small": (0, 0, 2_700, False, 6, 0, 0, 0),
    "cg none, sampled": (0, 0, 60_000, False, 6, 0, 0, 0),
    "cg none, whole": (0, 0, 175_000, False, 6, 0, 0, 0),
    "cg none, hessian": (120_000, 0, 60_000, False, 6, 0, 0, 0),
    "cg eigen, small": (180, 0, 540, False, 6, 0, 10_800, 3_600),
    "cg eigen, sampled": (2_400, 0, 12_000, False, 6, 0, 240_000_000, 80_000_000),
    "cg eigen, whole": (7_000, 0, 35_000, False, 6, 0, 240_000_000, 80_000_000),
    "cg eigen, hessian": (122_400, 0, 12_000, False, 6, 0, 240_000_000, 80_000_000),
    "cg ekfac, small": (270, 0, 2_700, False, 6, 0, 0, 0),
    "cg ekfac, sampled": (3_600, 0, 60_000, False, 6, 0, 0, 0),
    "cg ekfac, whole": (10_500, 0, 175_000, False, 6, 0, 0, 0),
    "cg ekfac, hessian": (123_600, 0, 60_000, False, 6, 0, 0, 0),
    "cg drawn, small": (180, 0, 540, False, 6, 0, 205_200, 0),
    "cg drawn, sampled": (2_400, 0, 12_000, False, 6, 0, 80_240_000, 0),
    "cg drawn, whole": (7_000, 0, 35_000, False, 6, 0, 80_240_000, 0),
    "cg drawn, hessian": (122_400, 0, 12_000, False, 6, 0, 80_240_000, 0),
    "cg drawn 4000, small": (180, 0, 360, False, 6, 0, 205_200, 0),
    "cg drawn 4000, sampled": (2_400, 0, 4_800, False, 6, 0, 1_211_981_824, 0),
    "cg drawn 4000, whole": (7_000, 0, 14_000, False, 6, 0, 1_457_741_824, 0),
    "cg drawn 4000, hessian": (122_400, 0, 4_800, False, 6, 0, 1_211_981_824, 0),
    "lissa none, small": (720, 0, 32_090, False, 6, 0, 0, 0),
    "lissa none, sampled": (9_600, 0, 33_200, False, 6, 0, 0, 0),
    "lissa none, whole": (28_000, 0, 35_500, False, 6, 0, 0, 0),
    "lissa none, hessian": (129_600, 0, 33_200, False, 6, 0, 0, 0),
    "lissa eigen, small": (900, 0, 32_090, False, 6, 0, 10_800, 3_600),
    "lissa eigen, sampled": (12_000, 0, 33_200, False, 6, 0, 240_000_000, 80_000_000),
    "lissa eigen, whole": (35_000, 0, 35_500, False, 6, 0, 240_000_000, 80_000_000),
    "lissa eigen, hessian": (132_000, 0, 33_200, False, 6, 0, 240_000_000, 80_000_000),
    "lissa ekfac, small": (990, 0, 32_090, False, 6, 0, 0, 0),
    "lissa ekfac, sampled": (13_200, 0, 33_200, False, 6, 0, 0, 0),
    "lissa ekfac, whole": (38_500, 0, 35_500, False, 6, 0, 0, 0),
    "lissa ekfac, hessian": (133_200, 0, 33_200, False, 6, 0, 0, 0),
    "lissa drawn, small": (900, 0, 32_090, False, 6, 0, 205_200, 0),
    "lissa drawn, sampled": (12_000, 0, 33_200, False, 6, 0, 80_240_000, 0),
    "lissa drawn, whole": (35_000, 0, 35_500, False, 6, 0, 80_240_000, 0),
    "lissa drawn, hessian": (132_000, 0, 33_200, False, 6, 0, 80_240_000, 0),
    "lissa fixed, small": (0, 0, 22_490, False, 6, 0, 0, 0),
    "lissa fixed, sampled": (0, 0, 23_600, False, 6, 0, 0, 0),
    "lissa fixed, whole": (0, 0, 25_900, False, 6, 0, 0, 0),
    "lissa fixed, hessian": (120_000, 0, 23_600, False, 6, 0, 0, 0),
    "lissa preset, small": (0, 0, 1_090, False, 6, 0, 0, 0),
    "lissa preset, sampled": (0, 0, 2_200, False, 6, 0, 0, 0),
    "lissa preset, whole": (0, 0, 4_500, False, 6, 0, 0, 0),
    "lissa preset, hessian": (120_000, 0, 2_200, False, 6, 0, 0, 0),
}


@pytest.mark.default_cases
@pytest.mark.parametrize("name", FIGURES)
def test_estimated_costs_equal_the_recorded_figures(name):
    solver, problem = name.rsplit(", ", 1)
    cost = SOLVERS[solver].estimate_cost(PROBLEMS[problem])
    factor, products, solve, single_sweep, vectors, held, working, disk = FIGURES[name]
    assert cost == SolverCost(
        solve,
        factor,
        float(products),
        vectors,
        held,
        working,
        disk,
        scores_in_one_sweep=single_sweep,
    )
