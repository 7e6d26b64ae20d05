"""Simulatability: a simulator of the model learns from influential rows (Guo et al., 2021)."""

import copy

import altair as alt
import polars as pl
import torch
from torch import Tensor

import fastif
from fastif.numerics.t_interval import mean_t_interval
from tasks.experiments.frozen_features import DAMPING, FrozenFeatures
from tasks.experiments.plots import SIGN_SCALE, chart_to_svg
from tasks.experiments.result import Claim, ExperimentResult
from tasks.experiments.workspace import Workspace

KINDS = ("helpful", "harmful", "random")
EXPLAINING_KIND = {"right": "helpful", "wrong": "harmful"}
"""Kind of rows that explains a correct prediction, and a wrong one."""


def reproduce_simulatability(workspace: Workspace) -> ExperimentResult:
    """Train a simulator on the predictions of the model; take one step on single true rows."""
    world = FrozenFeatures(workspace, workspace.select_size(1_500, 3_500), 200)
    right, wrong = world.split_by_correctness(workspace.select_size(40, 50))
    queries, points = [*right, *wrong], workspace.select_size(5, 10)
    rates = torch.logspace(-5, -2.5, workspace.select_size(6, 50)).tolist()
    params = workspace.cache_tensors("simulator", lambda: dict(_train_simulator(world).params))
    simulator = world.make_untrained(1)
    simulator.params = params
    scores = world.compute_removal_effects(queries, fastif.Dual(), DAMPING)
    predictions = world.predict_queries(world.model).argmax(1)
    changes = workspace.cache_json(
        "changes",
        lambda: {
            "rows": _compute_changes(
                world, simulator, scores, predictions, queries, points, rates, set(right)
            )
        },
    )["rows"]
    frame = pl.DataFrame(changes)
    rows = _make_rows(frame)
    return ExperimentResult(
        claims=[_make_claim(frame, side) for side in EXPLAINING_KIND],
        tables={"Change of the simulator's loss at the model's prediction, at the best rate": rows},
        plots={"simulatability": _plot_changes(frame)},
        notes=[
            f"{len(world.train):,} training pairs, {len(queries)} queries, {points} rows of "
            f"each kind a query, one step of Adam on each, {len(rates)} learning rates.",
            "The best learning rate is chosen for each kind of rows, random rows included.",
        ],
    )


def _make_rows(frame: pl.DataFrame) -> list[dict]:
    """Return a row a correctness and kind, at the best learning rate of the kind."""
    rows = []
    for side in EXPLAINING_KIND:
        best = _select_best_rate(frame, side)
        for kind in KINDS:
            rows.append({"prediction": side, "rows": kind, **_summarize_changes(best[kind])})
    return rows


def _make_claim(frame: pl.DataFrame, side: str) -> Claim:
    """Return the claim about the explaining rows of correct or wrong predictions."""
    best = _select_best_rate(frame, side)
    difference = mean_t_interval(
        [a - b for a, b in zip(best[EXPLAINING_KIND[side]], best["random"], strict=True)]
    )
    sentences = {
        "right": "Helpful rows improve the simulator more when the prediction is right",
        "wrong": "Harmful rows improve it more when the prediction is wrong",
    }
    return Claim(
        f"{sentences[side]}, compared with random rows.",
        "improve",
        f"{difference[0]:+.4f} nats against random ({difference[0] - difference[1]:+.4f} "
        "to "
        f"{difference[0] + difference[1]:+.4f})",
        difference[0] + difference[1] < 0,
    )


def _train_simulator(world: FrozenFeatures) -> fastif.ModuleObjective:
    predictions = fastif.predict(world.model, world.train)[0].argmax(1)
    return world.train_classifier(1, labels=predictions)


def _compute_changes(
    world: FrozenFeatures,
    simulator: fastif.ModuleObjective,
    scores: Tensor,
    predictions: Tensor,
    queries: list[int],
    points: int,
    rates: list[float],
    right: set[int],
) -> list[dict]:
    """Return the mean change of the simulator loss by query, kind and learning rate."""
    changes = []
    for position, query in enumerate(queries):
        order = scores[position].argsort()
        generator = torch.Generator().manual_seed(query)
        random_rows = torch.randperm(len(order), generator=generator)[:points]
        picked = {"helpful": order[-points:], "harmful": order[:points], "random": random_rows}
        batch = dict(world.queries.take(torch.tensor([query])))
        batch["labels"] = predictions[[query]]
        before = simulator.losses(simulator.params, batch).item()
        for kind, rows in picked.items():
            for rate in rates:
                after = [_loss_after_step(world, simulator, int(row), rate, batch) for row in rows]
                change = sum(after) / len(after) - before
                side = "right" if query in right else "wrong"
                changes.append(
                    {"query": query, "side": side, "kind": kind, "rate": rate, "change": change}
                )
    return changes


def _loss_after_step(
    world: FrozenFeatures, simulator: fastif.ModuleObjective, row: int, rate: float, batch
) -> float:
    """Return the simulator loss after one step of Adam on a row with its true label."""
    stepped = copy.copy(simulator)
    stepped.params = {k: v.detach().clone().requires_grad_() for k, v in simulator.params.items()}
    optimiser = torch.optim.Adam(list(stepped.params.values()), lr=rate)
    stepped.losses(stepped.params, world.train.take(torch.tensor([row]))).mean().backward()
    optimiser.step()
    with torch.no_grad():
        return stepped.losses(stepped.params, batch).item()


def _select_best_rate(frame: pl.DataFrame, side: str) -> dict[str, list[float]]:
    """Return the changes by kind, at the learning rate with the lowest mean of the kind."""
    best = {}
    for kind in KINDS:
        matching = frame.filter((pl.col("side") == side) & (pl.col("kind") == kind))
        means = matching.group_by("rate").agg(pl.col("change").mean()).sort("change", "rate")
        best[kind] = (
            matching.filter(pl.col("rate") == means["rate"][0]).sort("query")["change"].to_list()
        )
    return best


def _summarize_changes(changes: list[float]) -> dict[str, float | str]:
    mean, half = mean_t_interval(changes)
    return {"change, nats": mean, "95 %": f"{mean - half:+.4f} to {mean + half:+.4f}"}


def _plot_changes(frame: pl.DataFrame) -> str:
    mean = frame.group_by("side", "kind", "rate").agg(pl.col("change").mean())
    chart = (
        alt.Chart(mean.sort("rate"))
        .mark_line(point=True)
        .encode(
            x=alt.X(
                "rate:Q",
                scale=alt.Scale(type="log"),
                title="learning rate",
                axis=alt.Axis(format=".0e", tickCount=3),
            ),
            y=alt.Y("change:Q", title="change of the simulator's loss, nats"),
            color=alt.Color("kind:N", title=None, scale=SIGN_SCALE),
            column=alt.Column("side:N", title="prediction"),
        )
    )
    return chart_to_svg(chart.properties(width=240, height=220))
