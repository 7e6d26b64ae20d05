"""Rows removed and the model trained again: does the query's loss move as predicted?"""

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

NEAR = 0.05
PAPER = 50.0
SIZES = (1, 5, 25, 50, 100)
EXACT, FULL, FAST = "exact, all rows", "the paper's full mode", "the paper's fast mode"


def removal(place: Place) -> Outcome:
    """For each query the m most helpful or harmful rows by each method, or random ones."""
    world = Heads(place, place.sized(1_500, 3_500), 200)
    seeds = place.sized(3, 5)
    right, wrong = world.sides(place.sized(10, 20))
    queries = [*right, *wrong]
    scores = _scores(world, queries)
    base = [_losses(world, place, f"all-{seed}", seed, None) for seed in range(seeds)]
    changes: dict[tuple[str, str, int], list[float]] = {}
    for at, query in enumerate(queries):
        for size in SIZES:
            for method, kind, rows in _removed(scores, at, size, query):
                name = f"{query}-{size}-{method.split(',')[0].replace(' ', '_')}-{kind}"
                kept = torch.ones(len(world.train), dtype=torch.bool)
                kept[rows] = False
                ids = kept.nonzero()[:, 0]
                after = [
                    _losses(world, place, f"{name}-{seed}", seed, ids) for seed in range(seeds)
                ]
                gaps = [float(a[query] - b[query]) for a, b in zip(after, base, strict=True)]
                changes.setdefault((method, kind, size), []).append(sum(gaps) / seeds)
    rows = [{"method": method, "removed": kind, "m": size, **_told(found)}
            for (method, kind, size), found in changes.items()]  # fmt: skip
    most = SIZES[-1]
    random = changes["random", "any", most]
    harmful = _against(changes[EXACT, "harmful", most], random)
    helpful = _against(changes[EXACT, "helpful", most], random)
    full = _against(changes[FULL, "harmful", most], random)
    theirs = _against(changes[FAST, "harmful", most], random)
    return Outcome(
        claims=[
            Claim("The loss rises when helpful rows are removed, more than for random ones.",
                  "rises", helpful[0], helpful[1] > 0),
            Claim("It falls when harmful rows are removed (goal: below random at m = 100, with an "
                  "interval that excludes 0).", "falls", harmful[0], harmful[2] < 0),
            Claim("So it does for rows chosen by the full mode.", "falls", full[0], full[2] < 0),
            Claim("And for those chosen by the fast mode.", "similar", theirs[0], theirs[2] < 0),
            Claim("More removed rows have a larger effect.", "larger", ", ".join(
                f"m = {size}: {_told(changes[EXACT, 'helpful', size])['change, nats']:+.4f}"
                for size in SIZES), None),
        ],
        tables={f"Change of the query's loss, mean over {len(queries)} queries": rows},
        plots={"removal": _drawn(rows)},
        notes=[f"{len(world.train):,} training pairs, {seeds} seeds a removal, the same as of the "
               "trainings with all rows. Half of the queries are predicted wrong. Intervals are "
               f"Student's over queries; exact is λ = {DAMPING:g}, the full mode LiSSA at "
               f"λ = {PAPER:g}, the fast mode the same on kNN with {NEAR:.0%} of the rows: where m "
               "is more than what these are, it names rows by chance."],
    )  # fmt: skip


def _scores(world: Heads, queries: list[int]) -> dict[str, Tensor]:
    exact = world.effects(queries, fastif.Dual(), DAMPING)
    fast = fastif.Lissa(depth=700, batch=1, repeats=4, scale=1e4)
    far = torch.ones_like(exact, dtype=torch.bool)
    far.scatter_(1, world.near(queries, round(NEAR * exact.shape[1])), False)
    return {
        EXACT: exact,
        FULL: world.effects(queries, fastif.Lissa(preset="fastif"), PAPER),
        FAST: world.effects(queries, fast, PAPER).masked_fill(far, 0),
    }


def _removed(scores: dict[str, Tensor], at: int, size: int, query: int):
    """Method, kind and rows of each removal."""
    for method, found in scores.items():
        order = found[at].argsort()
        yield method, "harmful", order[:size]
        yield method, "helpful", order[-size:]
    generator = torch.Generator().manual_seed(query)
    n = next(iter(scores.values())).shape[1]
    yield "random", "any", torch.randperm(n, generator=generator)[:size]


def _losses(world: Heads, place: Place, name: str, seed: int, ids: Tensor | None) -> Tensor:
    """Losses of all queries of one training."""

    def made() -> dict[str, Tensor]:
        objective = world.trained(seed, ids)
        return {"losses": fastif.predict(objective, world.asked)[1]}

    return place.kept(name, made)["losses"]


def _told(found: list[float]) -> dict[str, float | str]:
    mean, half = _mean(found)
    return {"change, nats": mean, "95 %": f"{mean - half:+.4f} to {mean + half:+.4f}"}


def _mean(found: list[float]) -> tuple[float, float]:
    half = float(stats.t.ppf(0.975, len(found) - 1)) * float(stats.sem(found))
    return sum(found) / len(found), half


def _against(found: list[float], random: list[float]) -> tuple[str, float, float]:
    """The difference to random in words, and the ends of its interval; pairs share their query."""
    mean, half = _mean([a - b for a, b in zip(found, random, strict=True)])
    words = f"{mean:+.4f} nats against random ({mean - half:+.4f} to {mean + half:+.4f})"
    return words, mean - half, mean + half


def _drawn(rows: list[dict]) -> str:
    told = [{"m": row["m"], "change": row["change, nats"],
             "way": f"{row['removed']}, {row['method']}" if row["removed"] != "any" else "random"}
            for row in rows]  # fmt: skip
    base = alt.Chart(pl.DataFrame(told)).encode(
        x=alt.X("m:Q", title="rows removed"),
        y=alt.Y("change:Q", title="change of the query's loss, nats"),
        color=alt.Color("way:N", title=None, sort=None),
    )
    return svg((base.mark_line() + base.mark_circle(size=60)).properties(width=360, height=240))
