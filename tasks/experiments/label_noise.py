"""Detection of injected label flips by influence on all test points."""

import altair as alt
import polars as pl
import torch
from torch import Tensor

import fastif
from fastif.gradients.per_example import compute_loss_gradients
from fastif.mislabels.injected_flips import compute_reachable_share
from fastif.training.retrain import compute_losses
from tasks.experiments.mnist import OneAgainstSeven
from tasks.experiments.plots import chart_to_svg
from tasks.experiments.result import Claim, ExperimentResult
from tasks.experiments.workspace import Workspace

FLIPPED_SHARE = 0.1
"""Share of the training labels that are flipped."""
QUERY_BATCH = 256
"""Queries of one solve."""
REVIEWED_SHARES = (0.05, 0.1, 0.2, 0.3)


def reproduce_label_noise(workspace: Workspace) -> ExperimentResult:
    """Flip a tenth of the labels and rank the rows by their effect on all test digits."""
    world = OneAgainstSeven(workspace)
    flipped = _sample_flipped(len(world.rows))
    wrong = torch.zeros(len(world.rows), dtype=torch.bool)
    wrong[flipped] = True
    world.rows.labels = torch.where(wrong, 1 - world.rows.labels, world.rows.labels)
    world.objective.params = workspace.cache_tensors("model", lambda: dict(world.fit()))
    summed = workspace.cache_tensors("summed", lambda: _sum_effects(world))
    batch = world.rows.take(fastif.all_ids(world.rows))
    scores = {
        "harm to test digits with its label": summed["harm"],
        "sum of all effects": -summed["effect"],
        "self-influence": summed["own"],
        "loss": compute_losses(world.objective, world.objective.params, batch),
        "random": torch.rand(len(wrong), generator=torch.Generator().manual_seed(1)),
    }
    rows = [
        {"by": name, "average precision": _average_precision(score, wrong)}
        | _list_recalls(score, wrong)
        for name, score in scores.items()
    ]
    effect_row = rows[1]
    best = max(rows[:-1], key=lambda row: float(row["average precision"]))
    key = f"found in the first {REVIEWED_SHARES[1]:.0%}"
    return ExperimentResult(
        claims=_make_claims(effect_row, key, best),
        tables={f"{len(flipped):,} of {len(wrong):,} labels flipped": rows},
        plots={"labels": _plot_recall(scores, wrong)},
        notes=[
            f"{len(world.queries):,} correctly labelled test digits are the queries, so these "
            "rankings use more information than the loss. `fastif mislabels` needs no queries."
        ],
    )


def _make_claims(effect_row: dict, key: str, best: dict) -> list[Claim]:
    """Return the published claims with the results of this run."""
    return [
        Claim(
            "Influence on each test point, summed over all test points, detects label errors.",
            "none",
            f"{effect_row[key]:.0%} of the flipped labels in the first {REVIEWED_SHARES[1]:.0%} "
            f"(average precision {effect_row['average precision']:.3f})",
            effect_row[key] > 0.5,
        ),
        Claim(
            "(Added here.) Best of these rankings.",
            "none",
            f"{best['by']}, {best['average precision']:.3f}",
            None,
        ),
    ]


def _sample_flipped(count: int) -> Tensor:
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order[: round(FLIPPED_SHARE * count)]


def _sum_effects(world: OneAgainstSeven) -> dict[str, Tensor]:
    """Return the harm to all queries, the summed effect and the self-influence of each row."""
    n = len(world.rows)
    harm, effect = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    for ids in fastif.all_ids(world.queries).split(QUERY_BATCH):
        effects, _ = world.compute_removal_effects(ids, fastif.Direct())
        is_same_label = world.queries.labels[ids][:, None] == world.rows.labels
        harm += (effects.clamp_max(0).abs() * is_same_label).sum(0)
        effect += effects.sum(0)
    gradients = fastif.Gradients(world.objective)
    rows = compute_loss_gradients(gradients, world.rows)
    matrix = fastif.GaussNewton(world.objective, world.rows).with_damping(1e-2)
    solved = fastif.Direct().solve(matrix, rows).value
    return {"harm": harm, "effect": effect, "own": (rows * solved).sum(1) / n}


def _average_precision(score: Tensor, wrong: Tensor) -> float:
    """Return the mean over the wrong rows of the precision at their rank."""
    hits = wrong[score.argsort(descending=True, stable=True)].double()
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    return float(precision[hits.bool()].mean())


def _recall_in_first(score: Tensor, wrong: Tensor, share: float) -> float:
    first = score.argsort(descending=True, stable=True)[: round(share * len(score))]
    return float(wrong[first].sum() / wrong.sum())


def _list_recalls(score: Tensor, wrong: Tensor) -> dict[str, float]:
    """List recalls in the first rows; where these are too few for all flips, of the reachable too.

    The reachable recall is the recall divided by that of a perfect ranking.
    """
    recalls, flips = {}, int(wrong.sum())
    for share in REVIEWED_SHARES:
        recall = recalls[f"found in the first {share:.0%}"] = _recall_in_first(score, wrong, share)
        reachable = compute_reachable_share(flips, round(share * len(score)))
        if reachable < 1:
            recalls[f"of the reachable in the first {share:.0%}"] = recall / reachable
    return recalls


def _plot_recall(scores: dict[str, Tensor], wrong: Tensor) -> str:
    shares = [i / 50 for i in range(51)]
    points = [
        {"reviewed": share, "found": _recall_in_first(score, wrong, share), "by": name}
        for name, score in scores.items()
        for share in shares
    ]
    chart = (
        alt.Chart(pl.DataFrame(points))
        .mark_line()
        .encode(
            x=alt.X("reviewed:Q", axis=alt.Axis(format="%"), title="training rows reviewed"),
            y=alt.Y("found:Q", axis=alt.Axis(format="%"), title="flipped labels found"),
            color=alt.Color("by:N", title=None, sort=None),
        )
    )
    return chart_to_svg(chart.properties(width=360, height=260))
