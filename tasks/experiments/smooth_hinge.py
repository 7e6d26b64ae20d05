"""Influence of a support vector machine with a smooth hinge (Koh & Liang, 2017)."""

import torch

import fastif
from fastif.numerics.correlation import pearson
from fastif.training.retrain import compute_losses
from tasks.experiments.mnist import OneAgainstSeven
from tasks.experiments.mnist_1_vs_7 import select_removals
from tasks.experiments.plots import chart_to_svg, plot_scatter
from tasks.experiments.result import Claim, ExperimentResult
from tasks.experiments.workspace import Workspace

SHARP_TEMPERATURE = 1e-3
"""Temperature of the training hinge, as in the source."""
TEMPERATURES = (1e-3, 1e-2, 1e-1)
ANNEALING = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, SHARP_TEMPERATURE)
"""Temperatures of the hinge during the fit."""
MIN_QUERY_LOSS = 0.2
"""Minimum loss of the query: beyond the margin the hinge is flat and has no gradient."""


def reproduce_smooth_hinge(workspace: Workspace) -> ExperimentResult:
    """Train with a nearly sharp hinge; predict removals with it and with smoother ones."""
    world = OneAgainstSeven(workspace, fastif.SmoothHinge(SHARP_TEMPERATURE), outputs=1)
    world.objective.params = workspace.cache_tensors("model", lambda: _fit_by_annealing(world))
    query = _select_query(world)
    predicted = _predict_effects(world, query)
    rows = select_removals(predicted[1e-1][0].argsort(), workspace.select_size(30, 100))
    measured = workspace.cache_json(
        "removed", lambda: {"change": [world.retrain_change(r, query) for r in rows]}
    )
    change = torch.tensor([measured["change"]])
    pearson_by_temperature = {
        t: float(pearson(effects[:, rows], change)[0]) for t, effects in predicted.items()
    }
    best = max(pearson_by_temperature, key=lambda t: pearson_by_temperature[t])
    return ExperimentResult(
        claims=_make_claims(pearson_by_temperature, best, rows),
        tables={
            "Predicted against retrained without the row": [
                {"temperature of the influence": t, "Pearson": pearson_by_temperature[t]}
                for t in TEMPERATURES
            ]
        },
        plots={
            "hinge": chart_to_svg(
                plot_scatter(
                    predicted[best][0][rows].tolist(),
                    measured["change"],
                    "predicted change of the loss",
                    "retrained without the row",
                    f"t = {best:g}",
                )
            )
        },
        notes=[
            f"{len(world.rows):,} training digits, penalty 0.01, trained at t = "
            f"{SHARP_TEMPERATURE:g} after annealing from t = 1.",
            "The sharper the hinge, the fewer rows contribute to its curvature.",
        ],
    )


def _make_claims(
    pearson_by_temperature: dict[float, float], best: float, rows: list[int]
) -> list[Claim]:
    """Return the published claims with the results of this run."""
    return [
        Claim(
            "The hinge has no second derivative; a close smooth approximation lets influence work.",
            "none",
            f"Pearson {pearson_by_temperature[best]:.3f} at t = {best:g} over {len(rows)} removals",
            pearson_by_temperature[best] > 0.9,
        ),
    ]


def _predict_effects(world: OneAgainstSeven, query: int) -> dict[float, torch.Tensor]:
    """Return the removal effects of all rows [1 n] by temperature of the influence."""
    query_ids = torch.tensor([query])
    predicted: dict[float, torch.Tensor] = {}
    for t in TEMPERATURES:
        world.objective.loss = fastif.SmoothHinge(t)
        world.objective.measure = fastif.SmoothHinge(t)
        predicted[t], _ = world.compute_removal_effects(query_ids, fastif.Direct())
    world.objective.loss = world.objective.measure = fastif.SmoothHinge(SHARP_TEMPERATURE)
    return predicted


def _select_query(world: OneAgainstSeven) -> int:
    """Return the first query within the margin."""
    batch = world.queries.take(fastif.all_ids(world.queries))
    losses = compute_losses(world.objective, world.objective.params, batch)
    return int((losses > MIN_QUERY_LOSS).nonzero()[0])


def _fit_by_annealing(world: OneAgainstSeven) -> dict[str, torch.Tensor]:
    params = dict(world.objective.params)
    for t in ANNEALING:
        world.objective.loss = fastif.SmoothHinge(t)
        params = dict(world.fit(start=params))
    return params
