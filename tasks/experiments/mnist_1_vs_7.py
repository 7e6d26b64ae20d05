"""1 against 7: the exact inverse and LiSSA, training again, and the digits themselves."""

import torch

import fastif
from fastif.numerics.correlation import pearson, spearman
from tasks.experiments.mnist import OneAgainstSeven
from tasks.experiments.plots import digits as pictures
from tasks.experiments.plots import scatter, svg
from tasks.experiments.result import Claim, Outcome
from tasks.experiments.workspace import Place

SHOWN = 6
ASKED = 157
"""Of the test digits, the text's own index."""


def digits(place: Place) -> Outcome:
    """One test digit, all training digits, and as many of them removed as the scale says."""
    world = OneAgainstSeven(place)
    kept = place.kept("model", lambda: dict(world.fitted()))
    world.objective.params = kept
    one = torch.tensor([ASKED])
    exact, _ = world.effects(one, fastif.Direct())
    nearly, solution = world.effects(one, fastif.Lissa(depth=2000, batch=256, scale=5.0))
    order = exact[0].argsort()
    rows = _some(order, place.sized(40, 200))
    real = place.told("removed", lambda: {"change": [world.change(r, ASKED) for r in rows]})
    predicted = exact[0][rows]
    agreement = float(pearson(predicted[None], torch.tensor([real["change"]]))[0])
    ends = {*order[:SHOWN].tolist(), *order[-SHOWN:].tolist()}
    guess = nearly[0].argsort()
    common = len(ends & {*guess[:SHOWN].tolist(), *guess[-SHOWN:].tolist()})
    same = float(spearman(exact, nearly)[0])
    residual = float(solution.residual.max())
    return Outcome(
        claims=[
            Claim("The recursive estimate names the digits that the inverse names.", "none",
                  f"{common} of {2 * SHOWN} in common, Spearman over all rows {same:.4f}, residual "
                  f"{residual:.1e}", common == 2 * SHOWN),
            Claim("Influence foretells the change of the loss when a point is removed (Koh and "
                  "Liang, convex model; goal: Pearson above 0.99).", "close to the diagonal",
                  f"Pearson {agreement:.4f} over {len(rows)} removals", agreement > 0.99),
        ],
        plots={
            "digits-removal": svg(scatter(predicted.tolist(), real["change"],
                                          "predicted change of the loss, nats",
                                          "trained without the row")),
            "digits-ends": _drawn(world, order, exact[0]),
        },
        notes=[f"{len(world.rows):,} training digits; the query is number {ASKED} of the 1s and 7s "
               "of the test file. Every removal is trained to a gradient of 1e-10. Beside each "
               "picture its label and its removal effect in thousandths of a nat."],
    )  # fmt: skip


def _some(order: torch.Tensor, count: int) -> list[int]:
    """The ten rows at each end, and others at random."""
    generator = torch.Generator().manual_seed(0)
    middle = order[10:-10][torch.randperm(len(order) - 20, generator=generator)[: count - 20]]
    return torch.cat([order[:10], order[-10:], middle]).tolist()


def _drawn(world: OneAgainstSeven, order: torch.Tensor, effect: torch.Tensor) -> str:
    shown = [*order[:SHOWN].tolist(), *order.flip(0)[:SHOWN].tolist()]
    names = {0: "1", 1: "7"}
    titles = [f"asked: {names[int(world.asked.labels[ASKED])]}"]
    titles += [f"{names[int(world.rows.labels[i])]}: {1e3 * effect[i]:+.3f}" for i in shown]
    titles += [""] * (SHOWN - 1)
    blank = [0.0] * 784
    images = [world.asked_images[ASKED].tolist(), *[blank] * (SHOWN - 1)]
    images += [world.images[i].tolist() for i in shown]
    titles = [titles[0], *[""] * (SHOWN - 1), *titles[1 : 1 + 2 * SHOWN]]
    return pictures(images, titles, SHOWN)
