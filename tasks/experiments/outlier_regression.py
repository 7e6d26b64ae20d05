"""A line through 20 points of which two are far off: which of them did the damage?"""

import altair as alt
import polars as pl
import torch
from torch import Tensor, nn

import fastif
from fastif.numerics.correlation import pearson
from fastif.training.retrain import losses_of, refit
from tasks.experiments.plots import DIVERGING, svg
from tasks.experiments.result import Claim, Outcome
from tasks.experiments.workspace import Place

OUTLIERS = (1, 15)
ASKED = 3.2


def outliers(_: Place) -> Outcome:
    """The worked example of the text: y = -5 x + 5, two points at 100, asked at 3.2."""
    x, y, answer = _points()
    rows = fastif.TensorExamples(x[:, None], y[:, None])
    asked = fastif.TensorExamples(x.new_tensor([[ASKED]]), answer.view(1, 1))
    line = fastif.ModuleObjective(nn.Linear(1, 1).double(), fastif.SquaredError())
    line.params = refit(line, rows)
    predicted = _predicted(line, rows, asked)
    batch = asked.take(fastif.every(asked))
    before = losses_of(line, line.params, batch)
    weights = 1 - torch.eye(len(x), dtype=torch.float64)
    without = [losses_of(line, refit(line, rows, weights=w), batch) for w in weights]
    real = torch.cat(without) - before
    first = predicted.abs().topk(2).indices.tolist()
    agreement = float(pearson(predicted[None], real[None])[0])
    agreeing = int((predicted.sign() == real.sign()).sum())
    order = predicted.abs().argsort(descending=True)[:5].tolist()
    return Outcome(
        claims=[
            Claim("Two of the points have outsize effects on the model.", "the two at 100",
                  f"the two at x = {' and '.join(f'{x[i]:g}' for i in sorted(first))}",
                  set(first) == set(OUTLIERS)),
            Claim("Their effects are not equal: one pulled the model away, the other towards the "
                  "correct line.", "x near 2 away, x near -5 towards",
                  f"without x = {x[15]:g} the query's loss changes by {real[15]:+.1f}, without "
                  f"x = {x[1]:g} by {real[1]:+.1f}", bool(real[15] < 0 < real[1])),
            Claim("Influence foretells what training without a point does.", "none",
                  f"{agreeing} of 20 signs, Pearson {agreement:.3f}", agreeing == 20),
        ],
        tables={
            "The five largest effects on the loss at 3.2": [
                {"x": float(x[i]), "y": float(y[i]), "predicted": float(predicted[i]),
                 "trained without it": float(real[i])} for i in order
            ]
        },
        plots={"outliers": _drawn(x, y, predicted, line.params)},
        notes=["Positive: the loss rises without the point, so it helped. A point at 100 is no "
               "small change to a line of 20 points: the formula's size is wrong there by the "
               "leverage of the point, its sign and rank are right."],
    )  # fmt: skip


def _points() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.arange(-5, 5, 0.5, dtype=torch.float64)
    noise = 0.1 * torch.randn(21, generator=generator, dtype=torch.float64)
    y = -5 * x + 5 + noise[:20]
    y[list(OUTLIERS)] = 100.0
    return x, y, -5 * ASKED + 5 + noise[20]


def _predicted(
    line: fastif.ModuleObjective, rows: fastif.Examples, asked: fastif.Examples
) -> Tensor:
    gradients = fastif.Gradients(line)
    b = fastif.gradient_rows(gradients, asked, fastif.every(asked), 1)
    solved = fastif.Direct().solve(fastif.Hessian(line, rows).damped(0.0), b)
    found = fastif.influence(gradients, rows, solved.value)
    return found.removal_effect[0][found.ids[0].argsort()]


def _drawn(x: Tensor, y: Tensor, effect: Tensor, params) -> str:
    most = float(effect.abs().max())
    told = pl.DataFrame({"x": x.numpy(), "y": y.numpy(), "effect": effect.numpy()})
    scale = alt.Scale(domain=[-most, 0, most], range=DIVERGING, interpolate="rgb")
    dots = alt.Chart(told).mark_circle(size=90, stroke="#64748b", opacity=1).encode(
        x="x", y="y", color=alt.Color("effect", scale=scale, title="effect, removal"),
    )  # fmt: skip
    slope, start = float(params["weight"]), float(params["bias"])
    ends = pl.DataFrame({"x": [-5.0, 4.5], "y": [start - 5 * slope, start + 4.5 * slope]})
    line = alt.Chart(ends).mark_line(color="#64748b").encode(x="x", y="y")
    cross = pl.DataFrame({"x": [ASKED], "y": [-5 * ASKED + 5]})
    query = (
        alt.Chart(cross).mark_point(shape="cross", size=120, color="#111827").encode(x="x", y="y")
    )
    return svg(alt.layer(line, dots, query).properties(width=420, height=260))
