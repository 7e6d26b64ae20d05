"""A support vector machine: how smooth must the hinge be for influence to be right?"""

import torch

import fastif
from fastif.numerics.correlation import pearson
from fastif.training.retrain import losses_of
from tasks.experiments.mnist import OneAgainstSeven
from tasks.experiments.mnist_1_vs_7 import _some
from tasks.experiments.plots import scatter, svg
from tasks.experiments.result import Claim, Outcome
from tasks.experiments.workspace import Place

SHARP = 1e-3
"""Temperature of the hinge that is trained with, as in the text."""
TRIED = (1e-3, 1e-2, 1e-1)
FALLING = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, SHARP)
"""From which to which the hinge is sharpened while it is fitted."""
DOUBTED = 0.2
"""Loss from which a test digit is asked about: beyond the margin the hinge is flat, and nothing
changes it."""


def hinge(place: Place) -> Outcome:
    """Trained with a hinge that is nearly sharp; influence with it and with smoother ones."""
    world = OneAgainstSeven(place, fastif.SmoothHinge(SHARP), outputs=1)
    world.objective.params = place.kept("model", lambda: _sharpened(world))
    asked = _doubted(world)
    one = torch.tensor([asked])
    predicted = {}
    for t in TRIED:
        world.objective.loss = fastif.SmoothHinge(t)
        world.objective.measure = fastif.SmoothHinge(t)
        predicted[t], _ = world.effects(one, fastif.Direct())
    world.objective.loss = world.objective.measure = fastif.SmoothHinge(SHARP)
    rows = _some(predicted[1e-1][0].argsort(), place.sized(30, 100))
    real = place.told("removed", lambda: {"change": [world.change(r, asked) for r in rows]})
    change = torch.tensor([real["change"]])
    agree = {t: float(pearson(found[:, rows], change)[0]) for t, found in predicted.items()}
    best = max(agree, key=lambda t: agree[t])
    return Outcome(
        claims=[
            Claim("The hinge has no second derivative; a close smooth approximation lets influence "
                  "work.", "none", f"Pearson {agree[best]:.3f} at t = {best:g} over {len(rows)} "
                  "removals", agree[best] > 0.9),
        ],
        tables={"Predicted against trained without the row": [
            {"temperature of the influence": t, "Pearson": agree[t]} for t in TRIED]},
        plots={"hinge": svg(scatter(predicted[best][0][rows].tolist(), real["change"],
                                    "predicted change of the loss",
                                    "trained without the row", f"t = {best:g}"))},
        notes=[f"{len(world.rows):,} training digits, penalty 0.01, trained at t = {SHARP:g} by "
               "sharpening from 1. The sharper the hinge, the fewer rows carry its curvature."],
    )  # fmt: skip


def _doubted(world: OneAgainstSeven) -> int:
    """The first test digit within the margin."""
    batch = world.asked.take(fastif.every(world.asked))
    losses = losses_of(world.objective, world.objective.params, batch)
    return int((losses > DOUBTED).nonzero()[0])


def _sharpened(world: OneAgainstSeven) -> dict[str, torch.Tensor]:
    params = dict(world.objective.params)
    for t in FALLING:
        world.objective.loss = fastif.SmoothHinge(t)
        params = dict(world.fitted(start=params))
    return params
