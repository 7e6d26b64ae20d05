"""MNIST 1 against 7: exact inverse, LiSSA and retraining (Koh & Liang, 2017)."""

import torch

import fastif
from fastif.numerics.correlation import pearson, spearman
from tasks.experiments.mnist import OneAgainstSeven
from tasks.experiments.plots import chart_to_svg, plot_scatter
from tasks.experiments.plots import render_digits as pictures
from tasks.experiments.result import Claim, ExperimentResult
from tasks.experiments.workspace import Workspace

SHOWN = 6
QUERY = 157
"""Position of the query among the test digits, as in the source."""


def reproduce_mnist_1_vs_7(workspace: Workspace) -> ExperimentResult:
    """Compare the effects of all training digits on one query with retraining without some."""
    world = OneAgainstSeven(workspace)
    params = workspace.cache_tensors("model", lambda: dict(world.fit()))
    world.objective.params = params
    query_ids = torch.tensor([QUERY])
    exact, _ = world.compute_removal_effects(query_ids, fastif.Direct())
    lissa_effects, solution = world.compute_removal_effects(
        query_ids, fastif.Lissa(depth=2000, batch=256, scale=5.0)
    )
    order = exact[0].argsort()
    rows = select_removals(order, workspace.select_size(40, 200))
    measured = workspace.cache_json(
        "removed", lambda: {"change": [world.retrain_change(r, QUERY) for r in rows]}
    )
    predicted = exact[0][rows]
    agreement = float(pearson(predicted[None], torch.tensor([measured["change"]]))[0])
    extremes = {*order[:SHOWN].tolist(), *order[-SHOWN:].tolist()}
    lissa_order = lissa_effects[0].argsort()
    common = len(extremes & {*lissa_order[:SHOWN].tolist(), *lissa_order[-SHOWN:].tolist()})
    rank_agreement = float(spearman(exact, lissa_effects)[0])
    residual = float(solution.residual.max())
    return ExperimentResult(
        claims=_make_claims(common, rank_agreement, residual, agreement, rows),
        plots={
            "digits-removal": chart_to_svg(plot_scatter(predicted.tolist(), measured["change"],
                                          "predicted change of the loss, nats",
                                          "retrained without the row")),
            "digits-ends": _render_extremes(world, order, exact[0]),
        },
        notes=[f"{len(world.rows):,} training digits; the query is number {QUERY} of the 1s and 7s "
               "of the test file. Each removal is trained to a gradient norm of 1e-10.",
               "Above each picture: its label and its removal effect in thousandths of a nat."],
    )  # fmt: skip


def _make_claims(
    common: int, rank_agreement: float, residual: float, agreement: float, rows: list[int]
) -> list[Claim]:
    """Return the published claims with the results of this run."""
    return [
        Claim(
            "The recursive estimate (LiSSA) selects the digits that the inverse selects.",
            "none",
            f"{common} of {2 * SHOWN} in common, Spearman over all rows "
            f"{rank_agreement:.4f}, residual "
            f"{residual:.1e}",
            common == 2 * SHOWN,
        ),
        Claim(
            "Influence predicts the change of the loss when a point is removed (Koh and "
            "Liang, convex model; goal: Pearson above 0.99).",
            "close to the diagonal",
            f"Pearson {agreement:.4f} over {len(rows)} removals",
            agreement > 0.99,
        ),
    ]


def select_removals(order: torch.Tensor, count: int) -> list[int]:
    """Return the top ten, the bottom ten, and a random sample of the other rows."""
    generator = torch.Generator().manual_seed(0)
    middle = order[10:-10][torch.randperm(len(order) - 20, generator=generator)[: count - 20]]
    return torch.cat([order[:10], order[-10:], middle]).tolist()


def _render_extremes(world: OneAgainstSeven, order: torch.Tensor, effect: torch.Tensor) -> str:
    shown_ids = [*order[:SHOWN].tolist(), *order.flip(0)[:SHOWN].tolist()]
    names = {0: "1", 1: "7"}
    titles = [f"query: {names[int(world.queries.labels[QUERY])]}"]
    titles += [f"{names[int(world.rows.labels[i])]}: {1e3 * effect[i]:+.3f}" for i in shown_ids]
    titles += [""] * (SHOWN - 1)
    blank = [0.0] * 784
    images = [world.query_images[QUERY].tolist(), *[blank] * (SHOWN - 1)]
    images += [world.images[i].tolist() for i in shown_ids]
    titles = [titles[0], *[""] * (SHOWN - 1), *titles[1 : 1 + 2 * SHOWN]]
    return pictures(images, titles, SHOWN)
