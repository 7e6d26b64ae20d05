"""Do influential rows explain a model? A simulator of it learns from them, or from random ones."""

import copy

import altair as alt
import polars as pl
import torch
from scipy import stats
from torch import Tensor

import fastif
from tasks.experiments.frozen_features import DAMPING, Heads
from tasks.experiments.plots import svg
from tasks.experiments.result import Claim, Outcome
from tasks.experiments.workspace import Place

KINDS = ("helpful", "harmful", "random")
SIDES = {"right": "helpful", "wrong": "harmful"}
"""Which rows explain a prediction: what helped it if it is right, what harmed it if it is wrong."""


def simulatability(place: Place) -> Outcome:
    """A simulator is trained on the model's predictions, then stepped on one row of true label."""
    world = Heads(place, place.sized(1_500, 3_500), 200)
    right, wrong = world.sides(place.sized(40, 50))
    queries, points = [*right, *wrong], place.sized(5, 10)
    rates = torch.logspace(-5, -2.5, place.sized(6, 50)).tolist()
    made = place.kept("simulator", lambda: dict(_simulator(world).params))
    simulator = world.start(1)
    simulator.params = made
    scores = world.effects(queries, fastif.Dual(), DAMPING)
    said = world.outputs(world.model).argmax(1)
    found = place.told("changes", lambda: {
        "rows": _changes(world, simulator, scores, said, queries, points, rates, set(right))
    })["rows"]  # fmt: skip
    frame = pl.DataFrame(found)
    rows, claims = [], []
    for side, wanted in SIDES.items():
        best = _best(frame, side)
        for kind in KINDS:
            rows.append({"prediction": side, "rows": kind, **_told(best[kind])})
        gap = _mean([a - b for a, b in zip(best[wanted], best["random"], strict=True)])
        sides = {"right": "helpful rows improve the simulator when the prediction is right",
                 "wrong": "harmful rows do when it is wrong"}  # fmt: skip
        claims.append(
            Claim(f"More than random ones, {sides[side]}.", "improve",
                  f"{gap[0]:+.4f} nats against random ({gap[0] - gap[1]:+.4f} to "
                  f"{gap[0] + gap[1]:+.4f})", gap[0] + gap[1] < 0)
        )  # fmt: skip
    return Outcome(
        claims=claims,
        tables={"Change of the simulator's loss at the model's prediction, at the best rate": rows},
        plots={"simulatability": _drawn(frame)},
        notes=[f"{len(world.train):,} training pairs, {len(queries)} queries, {points} rows of "
               f"each kind a query, one step of Adam on each, {len(rates)} learning rates. The "
               "best rate is that of the kind itself, so that random rows have theirs too."],
    )  # fmt: skip


def _simulator(world: Heads) -> fastif.ModuleObjective:
    predictions = fastif.predict(world.model, world.train)[0].argmax(1)
    return world.trained(1, labels=predictions)


def _changes(
    world: Heads,
    simulator: fastif.ModuleObjective,
    scores: Tensor,
    said: Tensor,
    queries: list[int],
    points: int,
    rates: list[float],
    right: set[int],
) -> list[dict]:
    """The mean change for each query, kind and rate."""
    found = []
    for at, query in enumerate(queries):
        order = scores[at].argsort()
        generator = torch.Generator().manual_seed(query)
        some = torch.randperm(len(order), generator=generator)[:points]
        picked = {"helpful": order[-points:], "harmful": order[:points], "random": some}
        batch = dict(world.asked.take(torch.tensor([query])))
        batch["labels"] = said[[query]]
        before = simulator.losses(simulator.params, batch).item()
        for kind, rows in picked.items():
            for rate in rates:
                after = [_stepped(world, simulator, int(row), rate, batch) for row in rows]
                change = sum(after) / len(after) - before
                side = "right" if query in right else "wrong"
                found.append({"query": query, "side": side, "kind": kind, "rate": rate,
                              "change": change})  # fmt: skip
    return found


def _stepped(
    world: Heads, simulator: fastif.ModuleObjective, row: int, rate: float, batch
) -> float:
    """The simulator's loss after one step of Adam on a row, with its true label."""
    now = copy.copy(simulator)
    now.params = {k: v.detach().clone().requires_grad_() for k, v in simulator.params.items()}
    optimiser = torch.optim.Adam(list(now.params.values()), lr=rate)
    now.losses(now.params, world.train.take(torch.tensor([row]))).mean().backward()
    optimiser.step()
    with torch.no_grad():
        return now.losses(now.params, batch).item()


def _best(frame: pl.DataFrame, side: str) -> dict[str, list[float]]:
    """Of each kind the changes a query at the rate whose mean is the lowest."""
    found = {}
    for kind in KINDS:
        of = frame.filter((pl.col("side") == side) & (pl.col("kind") == kind))
        means = of.group_by("rate").agg(pl.col("change").mean()).sort("change", "rate")
        found[kind] = (
            of.filter(pl.col("rate") == means["rate"][0]).sort("query")["change"].to_list()
        )
    return found


def _mean(found: list[float]) -> tuple[float, float]:
    half = float(stats.t.ppf(0.975, len(found) - 1)) * float(stats.sem(found))
    return sum(found) / len(found), half


def _told(found: list[float]) -> dict[str, float | str]:
    mean, half = _mean(found)
    return {"change, nats": mean, "95 %": f"{mean - half:+.4f} to {mean + half:+.4f}"}


def _drawn(frame: pl.DataFrame) -> str:
    mean = frame.group_by("side", "kind", "rate").agg(pl.col("change").mean())
    chart = alt.Chart(mean.sort("rate")).mark_line(point=True).encode(
        x=alt.X("rate:Q", scale=alt.Scale(type="log"), title="learning rate",
                axis=alt.Axis(format=".0e", tickCount=3)),
        y=alt.Y("change:Q", title="change of the simulator's loss, nats"),
        color=alt.Color("kind:N", title=None), column=alt.Column("side:N", title="prediction"),
    )  # fmt: skip
    return svg(chart.properties(width=240, height=220))
