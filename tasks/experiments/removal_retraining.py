"""Retraining without the most influential rows of a query (Guo et al., 2021)."""

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

CANDIDATE_SHARE = 0.05
PAPER = 50.0
SIZES = (1, 5, 25, 50, 100)
Changes = dict[tuple[str, str, int], list[float]]
"""Change of the loss of each query by method, kind and number of removed rows."""
EXACT, FULL, FAST = "exact, all rows", "the paper's full mode", "the paper's fast mode"


def reproduce_removal_retraining(workspace: Workspace) -> ExperimentResult:
    """Retrain without the m most helpful or harmful rows of each query, or without random ones."""
    world = FrozenFeatures(workspace, workspace.select_size(1_500, 3_500), 200)
    seeds = workspace.select_size(3, 5)
    right, wrong = world.split_by_correctness(workspace.select_size(10, 20))
    queries = [*right, *wrong]
    scores = _compute_scores(world, queries)
    changes = _measure_changes(world, workspace, queries, scores, seeds)
    rows = [{"method": method, "removed": kind, "m": size, **_summarize_changes(values)}
            for (method, kind, size), values in changes.items()]  # fmt: skip
    return ExperimentResult(
        claims=_make_claims(changes),
        tables={f"Change of the query's loss, mean over {len(queries)} queries": rows},
        plots={"removal": _plot_changes(rows)},
        notes=[f"{len(world.train):,} training pairs; half of the queries are predicted wrong.",
               f"{seeds} seeds a removal, those of the trainings with all rows.",
               "Intervals: Student's t over the queries.",
               f"Exact: λ = {DAMPING:g}. Full mode: LiSSA at λ = {PAPER:g}. Fast mode: LiSSA at "
               f"λ = {PAPER:g} on kNN candidates, {CANDIDATE_SHARE:.0%} of the rows. Where m "
               "exceeds the number of candidates, the further rows are arbitrary."],
    )  # fmt: skip


def _measure_changes(
    world: FrozenFeatures,
    workspace: Workspace,
    queries: list[int],
    scores: dict[str, Tensor],
    seeds: int,
) -> Changes:
    """Return the change of the query loss after each removal, mean over the seeds."""
    base = [_train_losses(world, workspace, f"all-{seed}", seed, None) for seed in range(seeds)]
    changes: Changes = {}
    for position, query in enumerate(queries):
        for size in SIZES:
            for method, kind, rows in _select_removals(scores, position, size, query):
                name = f"{query}-{size}-{method.split(',')[0].replace(' ', '_')}-{kind}"
                is_kept = torch.ones(len(world.train), dtype=torch.bool)
                is_kept[rows] = False
                ids = is_kept.nonzero()[:, 0]
                after = [
                    _train_losses(world, workspace, f"{name}-{seed}", seed, ids)
                    for seed in range(seeds)
                ]
                query_changes = [
                    float(a[query] - b[query]) for a, b in zip(after, base, strict=True)
                ]
                changes.setdefault((method, kind, size), []).append(sum(query_changes) / seeds)
    return changes


def _make_claims(changes: Changes) -> list[Claim]:
    """Return the published claims with the results of this run."""
    largest = SIZES[-1]
    random = changes["random", "any", largest]
    harmful = _compare_with_random(changes[EXACT, "harmful", largest], random)
    helpful = _compare_with_random(changes[EXACT, "helpful", largest], random)
    full = _compare_with_random(changes[FULL, "harmful", largest], random)
    fast = _compare_with_random(changes[FAST, "harmful", largest], random)
    return [
        Claim(
            "The loss rises when helpful rows are removed, more than for random ones.",
            "rises",
            helpful[0],
            helpful[1] > 0,
        ),
        Claim(
            "It falls when harmful rows are removed (goal: below random at m = 100, with an "
            "interval that excludes 0).",
            "falls",
            harmful[0],
            harmful[2] < 0,
        ),
        Claim("It also falls for rows chosen by the full mode.", "falls", full[0], full[2] < 0),
        Claim("It also falls for rows chosen by the fast mode.", "similar", fast[0], fast[2] < 0),
        Claim(
            "More removed rows have a larger effect.",
            "larger",
            ", ".join(
                f"m = {size}: "
                f"{_summarize_changes(changes[EXACT, 'helpful', size])['change, nats']:+.4f}"
                for size in SIZES
            ),
            None,
        ),
    ]


def _compute_scores(world: FrozenFeatures, queries: list[int]) -> dict[str, Tensor]:
    exact = world.compute_removal_effects(queries, fastif.Dual(), DAMPING)
    fast = fastif.Lissa(depth=700, batch=1, repeats=4, scale=1e4)
    is_no_neighbour = torch.ones_like(exact, dtype=torch.bool)
    is_no_neighbour.scatter_(
        1, world.find_neighbours(queries, round(CANDIDATE_SHARE * exact.shape[1])), False
    )
    return {
        EXACT: exact,
        FULL: world.compute_removal_effects(queries, fastif.Lissa(preset="fastif"), PAPER),
        FAST: world.compute_removal_effects(queries, fast, PAPER).masked_fill(is_no_neighbour, 0),
    }


def _select_removals(scores: dict[str, Tensor], position: int, size: int, query: int):
    """Yield method, kind and rows of each removal."""
    for method, effects in scores.items():
        order = effects[position].argsort()
        yield method, "harmful", order[:size]
        yield method, "helpful", order[-size:]
    generator = torch.Generator().manual_seed(query)
    n = next(iter(scores.values())).shape[1]
    yield "random", "any", torch.randperm(n, generator=generator)[:size]


def _train_losses(
    world: FrozenFeatures, workspace: Workspace, name: str, seed: int, ids: Tensor | None
) -> Tensor:
    """Return the losses of all queries after one training."""

    def compute_losses() -> dict[str, Tensor]:
        objective = world.train_classifier(seed, ids)
        return {"losses": fastif.predict(objective, world.queries)[1]}

    return workspace.cache_tensors(name, compute_losses)["losses"]


def _summarize_changes(changes: list[float]) -> dict[str, float | str]:
    mean, half = mean_t_interval(changes)
    return {"change, nats": mean, "95 %": f"{mean - half:+.4f} to {mean + half:+.4f}"}


def _compare_with_random(changes: list[float], random: list[float]) -> tuple[str, float, float]:
    """Return the paired difference to random rows in words, and the ends of its interval."""
    mean, half = mean_t_interval([a - b for a, b in zip(changes, random, strict=True)])
    words = f"{mean:+.4f} nats against random ({mean - half:+.4f} to {mean + half:+.4f})"
    return words, mean - half, mean + half


def _plot_changes(rows: list[dict]) -> str:
    points = [
        {
            "m": row["m"],
            "change": row["change, nats"],
            "removed": "random" if row["removed"] == "any" else row["removed"],
            "method": row["method"],
        }
        for row in rows
    ]
    base = alt.Chart(pl.DataFrame(points)).encode(
        x=alt.X("m:Q", title="rows removed"),
        y=alt.Y("change:Q", title="change of the query's loss, nats"),
        color=alt.Color("removed:N", title="rows removed", scale=SIGN_SCALE),
    )
    lines = base.mark_line().encode(
        strokeDash=alt.StrokeDash("method:N", title="selected by", sort=None)
    )
    return chart_to_svg((lines + base.mark_circle(size=60)).properties(width=360, height=240))
