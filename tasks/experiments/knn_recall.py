"""How many of the truly influential rows nearest neighbours find, and how many sketches do."""

import altair as alt
import polars as pl
import torch
from torch import Tensor

import fastif
from tasks.experiments.nli_data import written
from tasks.experiments.plots import svg
from tasks.experiments.result import Claim, Outcome
from tasks.experiments.trained_nli import BATCH, Explained, halves
from tasks.experiments.workspace import Place

SHARES = (0.0025, 0.0127, 0.025, 0.05, 0.127, 0.25)
"""Candidates as a part of the rows: six sizes, among them the paper's 5e3, 1e4, 5e4 and 1e5 of
392,702."""
AT = {"small": (10, 100), "full": (10, 100, 1000)}
DAMPING, DIMENSIONS = 0.1, 512
KINDS = ("helpful", "harmful", "unsigned")


def recall(place: Place) -> Outcome:
    """Exact influence of every row, against what each method would have looked at."""
    size = place.sized(1_500, 3_500)
    world = Explained(written(place, size, size), "last:1", halves(place.sized(20, 100)))
    exact = place.kept("exact", lambda: {"scores": _exact(world)})["scores"]
    near = place.kept("near", lambda: {"scores": -_distances(world)})["scores"]
    sketch = place.kept("sketch", lambda: {"scores": _sketched(world)})["scores"]
    rows = []
    for method, scores, both in (("kNN", near, False), ("sketch", sketch, True)):
        for right, of in (("right", world.right), ("wrong", ~world.right)):
            for at in AT[place.scale]:
                for kind in KINDS:
                    curve = [_found(scores[of], exact[of], share, at, kind, both)
                             for share in SHARES]  # fmt: skip
                    rows.append({"method": method, "predictions": right, "m": at, "rows": kind}
                                | {f"{share:.2%}": v for share, v in zip(SHARES, curve,
                                                                         strict=True)})  # fmt: skip
    knn, ours = ({row["m"]: row for row in _mean(rows, name)} for name in ("kNN", "sketch"))
    return Outcome(
        claims=[
            Claim("kNN with k of 1.27 % of the rows holds a fifth of the most influential ones.",
                  "about 20 %", f"{knn[100]['1.27%']:.0%} of the top 100", None),
            Claim("With k of 12.7 % it holds close to 60 %.", "about 60 %",
                  f"{knn[100]['12.70%']:.0%} of the top 100, {knn[10]['12.70%']:.0%} of the top 10",
                  knn[100]["12.70%"] > 0.5),
            Claim("It does better than chance.", "15 % at 12.7 %",
                  f"{knn[100]['12.70%']:.0%} against 13 %", knn[100]["12.70%"] > 0.127),
            Claim("(Ours.) Sketches at 5 % of the rows.", "none",
                  f"{ours[10]['5.00%']:.0%} of the top 10, {ours[100]['5.00%']:.0%} of the top 100",
                  None),
        ],
        tables={"Share of the m most influential rows among the candidates": rows},
        plots={"recall": _drawn(knn, ours)},
        notes=[f"{len(world.train):,} training pairs, {len(world.right)} queries of HANS and "
               f"MultiNLI, half predicted right; last layer attributed, λ = {DAMPING:g}, exact "
               f"Gauss-Newton of all rows; sketches of {DIMENSIONS} numbers. The paper's ranking "
               "is at an effective damping of 50, where influence is nearly the gradient "
               "product."],
    )  # fmt: skip


def _exact(world: Explained) -> Tensor:
    solution = fastif.Dual().solve(world.matrix.damped(DAMPING), world.gradients)
    return world.scores(solution.value)


def _distances(world: Explained) -> Tensor:
    rows, asked = (
        fastif.embeddings(world.objective, some, fastif.every(some))
        for some in (world.train, world.asked)
    )
    return torch.cdist(asked, rows)


def _sketched(world: Explained) -> Tensor:
    gradients = fastif.Gradients(world.objective)
    sketcher = fastif.Sketcher.fit(world.matrix, DAMPING, dimensions=DIMENSIONS)
    rows = fastif.train_sketches(sketcher, gradients, world.train, fastif.every(world.train), BATCH)
    asked = fastif.query_sketches(
        sketcher, gradients, world.asked, fastif.every(world.asked), BATCH
    )
    return asked @ rows.float().T / len(rows)


def _found(scores: Tensor, exact: Tensor, share: float, at: int, kind: str, both: bool) -> float:
    """Mean share of each query's `at` most influential rows among its candidates."""
    k = max(1, round(share * scores.shape[1]))
    order = scores.argsort(dim=1, descending=True)
    high = k - k // 2 if both else k
    picked = torch.cat([order[:, :high], order[:, order.shape[1] - (k - high) :]], 1)
    held = torch.zeros_like(exact).scatter_(1, picked, 1.0)
    size = {"helpful": exact, "harmful": -exact, "unsigned": exact.abs()}[kind]
    return float(held.gather(1, size.topk(at, dim=1).indices).mean())


def _mean(rows: list[dict], method: str) -> list[dict]:
    """Unsigned, over right and wrong predictions."""
    found = []
    for at in dict.fromkeys(row["m"] for row in rows):
        some = [r for r in rows if (r["method"], r["m"], r["rows"]) == (method, at, "unsigned")]
        shares = {f"{s:.2%}": sum(r[f"{s:.2%}"] for r in some) / len(some) for s in SHARES}
        found.append({"m": at} | shares)
    return found


def _drawn(knn: dict, ours: dict) -> str:
    told = [
        {"candidates": share, "recall": curve[at][f"{share:.2%}"], "way": f"{name}, top {at}"}
        for name, curve in (("kNN", knn), ("sketch", ours)) for at in curve for share in SHARES
    ] + [{"candidates": share, "recall": share, "way": "chance"} for share in SHARES]  # fmt: skip
    base = alt.Chart(pl.DataFrame(told)).encode(
        x=alt.X("candidates:Q", scale=alt.Scale(type="log"), axis=alt.Axis(format="%"),
                title="candidates, share of the rows"),
        y=alt.Y("recall:Q", axis=alt.Axis(format="%")),
        color=alt.Color("way:N", title=None),
    )  # fmt: skip
    return svg((base.mark_line() + base.mark_circle(size=40)).properties(width=380, height=260))
