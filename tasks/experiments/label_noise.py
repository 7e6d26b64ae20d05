"""Wrong labels by influence alone, over all test points, as the text imagines it."""

import altair as alt
import polars as pl
import torch
from torch import Tensor

import fastif
from fastif.training.retrain import losses_of
from tasks.experiments.mnist import OneAgainstSeven
from tasks.experiments.plots import svg
from tasks.experiments.result import Claim, Outcome
from tasks.experiments.workspace import Place

TURNED = 0.1
"""Share of the training labels that are turned."""
TOGETHER = 256
"""Queries that are solved at once."""
LOOKED = (0.05, 0.1, 0.2, 0.3)


def labels(place: Place) -> Outcome:
    """A tenth of the labels turned; rows ranked by what they do to all test digits together."""
    world = OneAgainstSeven(place)
    turned = _turned(len(world.rows))
    wrong = torch.zeros(len(world.rows), dtype=torch.bool)
    wrong[turned] = True
    world.rows.labels = torch.where(wrong, 1 - world.rows.labels, world.rows.labels)
    world.objective.params = place.kept("model", lambda: dict(world.fitted()))
    summed = place.kept("summed", lambda: _summed(world))
    batch = world.rows.take(fastif.every(world.rows))
    ways = {
        "harm to test digits of its label": summed["harm"],
        "sum of all effects": -summed["effect"],
        "self-influence": summed["own"],
        "loss": losses_of(world.objective, world.objective.params, batch),
        "at random": torch.rand(len(wrong), generator=torch.Generator().manual_seed(1)),
    }
    rows = [{"by": name, "average precision": _precision(score, wrong)}
            | {f"found in the first {share:.0%}": _found(score, wrong, share) for share in LOOKED}
            for name, score in ways.items()]  # fmt: skip
    first = rows[1]
    best = max(rows[:-1], key=lambda row: float(row["average precision"]))
    key = f"found in the first {LOOKED[1]:.0%}"
    return Outcome(
        claims=[
            Claim("Influence for each test point, over all test points, makes an automatic "
                  "detector of mislabels.", "none",
                  f"{first[key]:.0%} of the turned labels among the first {LOOKED[1]:.0%} "
                  f"(average precision {first['average precision']:.3f})", first[key] > 0.5),
            Claim("(Ours.) Which is the best of these rankings?", "none",
                  f"{best['by']}, {best['average precision']:.3f}", None),
        ],
        tables={f"{len(turned):,} of {len(wrong):,} labels turned": rows},
        plots={"labels": _drawn(ways, wrong)},
        notes=[f"{len(world.asked):,} test digits of right label are asked, so that this knows "
               "more than the loss does; `fastif mislabels` needs none."],
    )  # fmt: skip


def _turned(count: int) -> Tensor:
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order[: round(TURNED * count)]


def _summed(world: OneAgainstSeven) -> dict[str, Tensor]:
    """Of each training row: harm to all queries, the sum of its effects, and its self-influence."""
    n = len(world.rows)
    harm, effect = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    for ids in fastif.every(world.asked).split(TOGETHER):
        found, _ = world.effects(ids, fastif.Direct())
        same = world.asked.labels[ids][:, None] == world.rows.labels
        harm -= (found.clamp_max(0) * same).sum(0)
        effect += found.sum(0)
    gradients = fastif.Gradients(world.objective)
    rows = fastif.gradient_rows(gradients, world.rows, fastif.every(world.rows), 512)
    matrix = fastif.GaussNewton(world.objective, world.rows, batch_size=512).damped(1e-2)
    solved = fastif.Direct().solve(matrix, rows).value
    return {"harm": harm, "effect": effect, "own": (rows * solved).sum(1) / n}


def _precision(score: Tensor, wrong: Tensor) -> float:
    """Mean over the wrong rows of the precision at their rank."""
    hits = wrong[score.argsort(descending=True, stable=True)].double()
    at = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    return float(at[hits.bool()].mean())


def _found(score: Tensor, wrong: Tensor, share: float) -> float:
    first = score.argsort(descending=True, stable=True)[: round(share * len(score))]
    return float(wrong[first].sum() / wrong.sum())


def _drawn(ways: dict[str, Tensor], wrong: Tensor) -> str:
    shares = [i / 50 for i in range(51)]
    told = [
        {"looked at": share, "found": _found(score, wrong, share), "by": name}
        for name, score in ways.items() for share in shares
    ]  # fmt: skip
    chart = alt.Chart(pl.DataFrame(told)).mark_line().encode(
        x=alt.X("looked at:Q", axis=alt.Axis(format="%"), title="training rows looked at"),
        y=alt.Y("found:Q", axis=alt.Axis(format="%"), title="turned labels found"),
        color=alt.Color("by:N", title=None, sort=None),
    )  # fmt: skip
    return svg(chart.properties(width=360, height=260))
