"""LiSSA settings J, B and T against a converged solve (Guo et al., 2021, Table 2)."""

import time

import altair as alt
import polars as pl
import torch
from scipy.stats import kendalltau
from torch import Tensor

import fastif
from fastif.gradients.per_example import compute_loss_gradients
from fastif.numerics.correlation import pearson, spearman
from tasks.experiments.frozen_features import FrozenFeatures
from tasks.experiments.plots import chart_to_svg
from tasks.experiments.result import Claim, ExperimentResult
from tasks.experiments.workspace import Workspace

PAPER, OURS = 50.0, 0.1
"""Effective damping of the settings of the paper, and damping of the built-in example."""
FULL, FAST = "the paper's full mode", "the paper's fast mode"
DUAL = "ours: dual of rank 300"
CONVERGED_PAPER, CONVERGED_OURS = "converged, λ = 50", "converged, λ = 0.1"
GRID_J, GRID_B, GRID_T = (250, 500, 1000), (1, 8, 64), (1, 4)


def reproduce_lissa_settings(workspace: Workspace) -> ExperimentResult:
    """Compare settings on a network small enough for solves to full precision."""
    world = FrozenFeatures(workspace, workspace.select_size(1_500, 3_500), 200)
    right, wrong = world.split_by_correctness(4)
    gradients = fastif.Gradients(world.model)
    b = compute_loss_gradients(gradients, world.queries, torch.tensor([*right, *wrong]))
    solved = workspace.cache_tensors("converged", lambda: _solve_converged(world, b))
    grid = workspace.cache_json("grid", lambda: {"rows": _run_grid(world, b, solved["paper"])})[
        "rows"
    ]
    fast = workspace.cache_json("fast", lambda: {"rows": _compare_modes(world, b, solved)})["rows"]
    return ExperimentResult(
        claims=[*_make_mode_claims(fast), *_make_grid_claims(grid)],
        tables={
            "Correlations of the scores of all training rows, mean over 8 queries": [
                {"method": row["way"].replace("ours:", "fastif:")}
                | {key: row[key] for key in row if key != "way"}
                for row in fast
            ],
            f"LiSSA at λ = {PAPER:g}: error ‖x - x*‖ / ‖x*‖ against the converged solve": grid,
        },
        plots={"settings": _plot_errors(grid)},
        notes=[
            f"{len(world.train):,} training pairs, {world.model.space.size:,} "
            "parameters, 8 queries solved together; residuals of the converged solves below "
            "1e-5.",
            "The full mode of the paper is J = 1,000, B = 1, T = 1, damping 0.005, scale 10,000, "
            "which is λ = 50; its fast mode here J = 700, T = 4.",
            "At that damping the error comes from the truncation of the series alone: batches of "
            "one row are as good as of 64.",
        ],
    )


def _make_mode_claims(fast: list[dict]) -> list[Claim]:
    """Return the claims about the fast modes, against the full mode and a converged solve."""
    by_pair = {(row["way"], row["against"]): row for row in fast}
    dual_vs_converged, fast_vs_converged, fast_vs_full = (
        by_pair[DUAL, CONVERGED_OURS],
        by_pair[FAST, CONVERGED_OURS],
        by_pair[FAST, FULL],
    )
    return [
        Claim(
            "The fast mode's scores correlate with the full mode's.",
            "Pearson 0.998, Spearman 0.995, Kendall 0.969",
            f"Pearson {fast_vs_full['Pearson']:.3f}, Spearman "
            f"{fast_vs_full['Spearman']:.3f}, "
            f"Kendall {fast_vs_full['Kendall']:.3f}",
            fast_vs_full["Spearman"] > 0.99,
        ),
        Claim(
            "(Not in the paper.) The fast mode of the paper correlates with a converged solve at "
            "λ = 0.1.",
            "none",
            f"Spearman {fast_vs_converged['Spearman']:.3f}",
            None,
        ),
        Claim(
            "(Goal.) The fast mode of fastif correlates with that solve: Spearman above 0.99.",
            "none",
            f"Spearman {dual_vs_converged['Spearman']:.4f} in "
            f"{dual_vs_converged['seconds']:.1f} s, the paper's fast "
            f"mode {fast_vs_converged['seconds']:.1f} s",
            dual_vs_converged["Spearman"] > 0.99,
        ),
    ]


def _make_grid_claims(grid: list[dict]) -> list[Claim]:
    """Return the claims about the error by J and B."""
    single_rows = [row for row in grid if row["T"] == 1 and row["B"] == 1]
    deepest = [row for row in grid if row["T"] == 1 and row["J"] == GRID_J[-1]]
    return [
        Claim(
            "The error falls with J.",
            "falls",
            ", ".join(f"J = {row['J']}: {row['error']:.2g}" for row in single_rows),
            single_rows[0]["error"] > single_rows[-1]["error"],
        ),
        Claim(
            "It falls with the batch size, and several runs compensate for a small batch.",
            "falls",
            ", ".join(f"B = {row['B']}: {row['error']:.4f}" for row in deepest) + " at J = 1,000",
            deepest[0]["error"] > 1.1 * deepest[-1]["error"],
        ),
    ]


def _make_gauss_newton(world: FrozenFeatures) -> fastif.GaussNewton:
    return fastif.GaussNewton(world.model, world.train)


def _compute_scores(world: FrozenFeatures, s_test: Tensor) -> Tensor:
    """Removal effects of all training rows, [q n]."""
    influence = fastif.influence(fastif.Gradients(world.model), world.train, s_test)
    return influence.removal_effect.gather(1, influence.ids.argsort(1))


def _solve_converged(world: FrozenFeatures, b: Tensor) -> dict[str, Tensor]:
    solutions = {}
    for name, damping in (("paper", PAPER), ("ours", OURS)):
        solution = fastif.Dual().solve(_make_gauss_newton(world).with_damping(damping), b)
        assert float(solution.residual.max()) < 1e-5, solution.residual
        solutions[name] = solution.value
    return solutions


def _run_grid(world: FrozenFeatures, b: Tensor, exact: Tensor) -> list[dict]:
    rows = []
    operator = _make_gauss_newton(world).with_damping(PAPER)
    for batch in GRID_B:
        for depth in GRID_J:
            for repeats in GRID_T if depth == GRID_J[-1] and batch == 1 else (1,):
                solver = fastif.Lissa(depth=depth, batch=batch, repeats=repeats, scale=1e4)
                start = time.perf_counter()
                value = solver.solve(operator, b).value
                seconds = time.perf_counter() - start
                error = (value - exact).norm(dim=1) / exact.norm(dim=1)
                rows.append(
                    {
                        "J": depth,
                        "B": batch,
                        "T": repeats,
                        "seconds": seconds,
                        "error": float(error.mean()),
                    }
                )
    return rows


def _compare_modes(world: FrozenFeatures, b: Tensor, solved: dict[str, Tensor]) -> list[dict]:
    paper, ours = (
        _make_gauss_newton(world).with_damping(PAPER),
        _make_gauss_newton(world).with_damping(OURS),
    )
    sample = torch.randperm(len(world.train), generator=torch.Generator().manual_seed(0))
    half = fastif.GaussNewton(world.model, world.train, sample[: len(sample) // 2].sort().values)
    fast = fastif.Lissa(depth=700, batch=1, repeats=4, scale=1e4, seed=9)
    solvers = {
        FULL: lambda: fastif.Lissa(preset="fastif").solve(paper, b),
        FAST: lambda: fast.solve(paper, b),
        DUAL: lambda: fastif.Dual(rank=300).solve(ours, b),
        "ours: LiSSA until it converges": lambda: fastif.Lissa(tolerance=0.02).solve(ours, b),
        "ours: dual on half of the rows": lambda: fastif.Dual().solve(half.with_damping(OURS), b),
        "ours: EK-FAC": lambda: fastif.Spectral().solve(ours, b),
    }
    scores = {
        CONVERGED_PAPER: _compute_scores(world, solved["paper"]),
        CONVERGED_OURS: _compute_scores(world, solved["ours"]),
    }
    seconds = {}
    for name, solve in solvers.items():
        start = time.perf_counter()
        value = solve().value
        seconds[name] = time.perf_counter() - start
        scores[name] = _compute_scores(world, value)
    pairs = [(FAST, FULL), (FULL, CONVERGED_PAPER), *((name, CONVERGED_OURS) for name in solvers)]
    return [
        _correlate_scores(method, reference, scores[method], scores[reference])
        | {"seconds": seconds[method]}
        for method, reference in pairs
    ]


def _correlate_scores(
    method: str, reference: str, scores: Tensor, reference_scores: Tensor
) -> dict:
    pairs = zip(scores.numpy(), reference_scores.numpy(), strict=True)
    kendall = [float(kendalltau(x, y)[0]) for x, y in pairs]  # type: ignore[arg-type]
    return {
        "way": method,
        "against": reference,
        "Pearson": float(pearson(scores, reference_scores).mean()),
        "Spearman": float(spearman(scores, reference_scores).mean()),
        "Kendall": sum(kendall) / len(kendall),
    }


def _plot_errors(grid: list[dict]) -> str:
    points = [{**row, "B": f"B = {row['B']}"} for row in grid if row["T"] == 1]
    base = alt.Chart(pl.DataFrame(points)).encode(
        x=alt.X("seconds:Q", scale=alt.Scale(type="log")),
        y=alt.Y("error:Q", scale=alt.Scale(type="log"), title="error against the converged solve"),
        color=alt.Color("B:N", title=None),
    )
    layers = base.mark_line() + base.mark_circle(size=60) + base.mark_text(dy=-10).encode(text="J")
    return chart_to_svg(layers.properties(width=360, height=240))
