"""Linear regression on 20 points with two outliers."""

import altair as alt
import polars as pl
import torch
from torch import Tensor, nn

import fastif
from fastif.gradients.per_example import compute_loss_gradients
from fastif.numerics.correlation import pearson
from fastif.training.retrain import compute_losses, retrain_exact
from tasks.experiments.plots import chart_to_svg
from tasks.experiments.result import Claim, ExperimentResult
from tasks.experiments.workspace import Workspace
from tasks.results.palette import DIVERGING, NEUTRAL

OUTLIERS = (1, 15)
QUERY_X = 3.2


def reproduce_outlier_regression(_: Workspace) -> ExperimentResult:
    """Run the example y = -5 x + 5 with two points at 100 and a query at x = 3.2."""
    x, y, answer = _make_points()
    rows = fastif.TensorExamples(x[:, None], y[:, None])
    query = fastif.TensorExamples(x.new_tensor([[QUERY_X]]), answer.view(1, 1))
    line = fastif.ModuleObjective(nn.Linear(1, 1).double(), fastif.SquaredError())
    line.params = retrain_exact(line, rows)
    predicted = _predict_effects(line, rows, query)
    batch = query.take(fastif.all_ids(query))
    before = compute_losses(line, line.params, batch)
    weights = 1 - torch.eye(len(x), dtype=torch.float64)
    losses_without = [
        compute_losses(line, retrain_exact(line, rows, weights=w), batch) for w in weights
    ]
    measured = torch.cat(losses_without) - before
    first = predicted.abs().topk(2).indices.tolist()
    agreement = float(pearson(predicted[None], measured[None])[0])
    agreeing = int((predicted.sign() == measured.sign()).sum())
    order = predicted.abs().argsort(descending=True)[:5].tolist()
    return ExperimentResult(
        claims=_make_claims(x, first, measured, agreeing, agreement),
        tables={
            "The five largest effects on the loss at 3.2": [
                {"x": float(x[i]), "y": float(y[i]), "predicted": float(predicted[i]),
                 "retrained without it": float(measured[i])} for i in order
            ]
        },
        plots={"outliers": _plot_effects(x, y, predicted, line.params)},
        notes=["A positive effect means that the loss rises without the point: the point helped.",
               "A point at 100 is not a small change to a line of 20 points. The predicted size is "
               "wrong there by the leverage of the point; sign and rank are right."],
    )  # fmt: skip


def _make_claims(
    x: Tensor, first: list[int], measured: Tensor, agreeing: int, agreement: float
) -> list[Claim]:
    """Return the published claims with the results of this run."""
    return [
        Claim(
            "Two of the points have outsize effects on the model.",
            "the two at 100",
            f"the two at x = {' and '.join(f'{x[i]:g}' for i in sorted(first))}",
            set(first) == set(OUTLIERS),
        ),
        Claim(
            "Their effects are not equal: one pulled the model away, the other towards the "
            "correct line.",
            "x near 2 away, x near -5 towards",
            f"without x = {x[15]:g} the query's loss changes by {measured[15]:+.1f}, without "
            f"x = {x[1]:g} by {measured[1]:+.1f}",
            bool(measured[15] < 0 < measured[1]),
        ),
        Claim(
            "Influence predicts the result of training without a point.",
            "none",
            f"{agreeing} of 20 signs, Pearson {agreement:.3f}",
            agreeing == 20,
        ),
    ]


def _make_points() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.arange(-5, 5, 0.5, dtype=torch.float64)
    noise = 0.1 * torch.randn(21, generator=generator, dtype=torch.float64)
    y = -5 * x + 5 + noise[:20]
    y[list(OUTLIERS)] = 100.0
    return x, y, -5 * QUERY_X + 5 + noise[20]


def _predict_effects(
    line: fastif.ModuleObjective, rows: fastif.Examples, query: fastif.Examples
) -> Tensor:
    gradients = fastif.Gradients(line)
    b = compute_loss_gradients(gradients, query)
    solved = fastif.Direct().solve(fastif.Hessian(line, rows).with_damping(0.0), b)
    influence = fastif.influence(gradients, rows, solved.value)
    return influence.removal_effect[0][influence.ids[0].argsort()]


def _plot_effects(x: Tensor, y: Tensor, effect: Tensor, params) -> str:
    largest = float(effect.abs().max())
    points = pl.DataFrame({"x": x.numpy(), "y": y.numpy(), "effect": effect.numpy()})
    scale = alt.Scale(domain=[-largest, 0, largest], range=list(DIVERGING), interpolate="rgb")
    dots = alt.Chart(points).mark_circle(size=90, stroke=NEUTRAL.light, opacity=1).encode(
        x="x", y="y", color=alt.Color("effect", scale=scale, title="effect, removal"),
    )  # fmt: skip
    slope, intercept = float(params["weight"]), float(params["bias"])
    endpoints = pl.DataFrame(
        {"x": [-5.0, 4.5], "y": [intercept - 5 * slope, intercept + 4.5 * slope]}
    )
    line = alt.Chart(endpoints).mark_line(color=NEUTRAL.light).encode(x="x", y="y")
    cross = pl.DataFrame({"x": [QUERY_X], "y": [-5 * QUERY_X + 5]})
    query = (
        alt.Chart(cross).mark_point(shape="cross", size=120, color="#111827").encode(x="x", y="y")
    )
    return chart_to_svg(alt.layer(line, dots, query).properties(width=420, height=260))
