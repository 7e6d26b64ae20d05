"""Recall of the most influential rows by nearest neighbours and by sketches (Guo et al., 2021)."""

from collections.abc import Mapping, Sequence

import altair as alt
import polars as pl
import torch
from torch import Tensor

import fastif
from fastif.candidates import GradientSketcher, compute_query_sketches, compute_train_sketches
from tasks.experiments.nli_data import write_nli_study
from tasks.experiments.plots import chart_to_svg
from tasks.experiments.result import Claim, ExperimentResult
from tasks.experiments.trained_nli import TrainedNli, make_balanced_picker
from tasks.experiments.workspace import Workspace

SHARES = (0.0025, 0.0127, 0.025, 0.05, 0.127, 0.25)
"""Candidates as a share of the rows, among them the 5e3, 1e4, 5e4 and 1e5 of 392,702 of the
paper."""
TOP_K = {"small": (10, 100), "full": (10, 100, 1000)}
DAMPING, DIMENSIONS = 0.1, 512
KINDS = ("helpful", "harmful", "unsigned")


def reproduce_knn_recall(workspace: Workspace) -> ExperimentResult:
    """Compare the exact influence of all rows with the candidates of each method."""
    size = workspace.select_size(1_500, 3_500)
    world = TrainedNli(
        write_nli_study(workspace, size, size),
        "last:1",
        make_balanced_picker(workspace.select_size(20, 100)),
    )
    exact = workspace.cache_tensors("exact", lambda: {"scores": _compute_exact(world)})["scores"]
    knn_scores = workspace.cache_tensors("near", lambda: {"scores": -_compute_distances(world)})[
        "scores"
    ]
    sketch_scores = workspace.cache_tensors(
        "sketch", lambda: {"scores": _score_by_sketches(world)}
    )["scores"]
    scores_by_method = {"kNN": knn_scores, "sketch": sketch_scores}
    rows = _compute_recall(exact, scores_by_method, world.is_correct, TOP_K[workspace.scale])
    knn_by_k, sketch_by_k = (
        {row["m"]: row for row in _mean_recall(rows, name)} for name in ("kNN", "sketch")
    )
    return ExperimentResult(
        claims=_make_claims(knn_by_k, sketch_by_k),
        tables={"Share of the m most influential rows among the candidates": rows},
        plots={"recall": _plot_recall(knn_by_k, sketch_by_k)},
        notes=[
            f"{len(world.train):,} training pairs, {len(world.is_correct)} queries of HANS and "
            f"MultiNLI, half predicted correctly; last layer attributed, λ = {DAMPING:g}, exact "
            f"Gauss-Newton of all rows; sketches of {DIMENSIONS} numbers.",
            "The ranking of the paper has an effective damping of 50, where influence is nearly "
            "the gradient product.",
        ],
    )


def _compute_recall(
    exact: Tensor, scores_by_method: Mapping[str, Tensor], is_correct: Tensor, sizes: Sequence[int]
) -> list[dict]:
    """Return recall by method, correctness, k and sign; sketches give the top-k and bottom-k."""
    rows = []
    for method, scores in scores_by_method.items():
        is_two_sided = method == "sketch"
        for correctness, subset in (("right", is_correct), ("wrong", ~is_correct)):
            for k in sizes:
                for kind in KINDS:
                    curve = [
                        _recall_at_k(scores[subset], exact[subset], share, k, kind, is_two_sided)
                        for share in SHARES
                    ]
                    rows.append(
                        {"method": method, "predictions": correctness, "m": k, "rows": kind}
                        | {f"{share:.2%}": v for share, v in zip(SHARES, curve, strict=True)}
                    )
    return rows


def _make_claims(knn_by_k: dict[int, dict], sketch_by_k: dict[int, dict]) -> list[Claim]:
    """Return the published claims with the results of this run."""
    return [
        Claim(
            "kNN with k = 1.27 % of the rows contains a fifth of the most influential ones.",
            "about 20 %",
            f"{knn_by_k[100]['1.27%']:.0%} of the top 100",
            None,
        ),
        Claim(
            "With k = 12.7 % it contains close to 60 %.",
            "about 60 %",
            f"{knn_by_k[100]['12.70%']:.0%} of the top 100, {knn_by_k[10]['12.70%']:.0%} of "
            "the top 10",
            knn_by_k[100]["12.70%"] > 0.5,
        ),
        Claim(
            "It does better than chance.",
            "15 % at 12.7 %",
            f"{knn_by_k[100]['12.70%']:.0%} against 13 %",
            knn_by_k[100]["12.70%"] > 0.127,
        ),
        Claim(
            "(Added here.) Sketches at 5 % of the rows.",
            "none",
            f"{sketch_by_k[10]['5.00%']:.0%} of the top 10, {sketch_by_k[100]['5.00%']:.0%} "
            "of the top 100",
            None,
        ),
    ]


def _compute_exact(world: TrainedNli) -> Tensor:
    solution = fastif.Dual().solve(world.curvature.with_damping(DAMPING), world.query_gradients)
    return world.compute_removal_effects(solution.value)


def _compute_distances(world: TrainedNli) -> Tensor:
    train_embeddings, query_embeddings = (
        fastif.compute_embeddings(world.objective, dataset)
        for dataset in (world.train, world.queries)
    )
    return torch.cdist(query_embeddings, train_embeddings)


def _score_by_sketches(world: TrainedNli) -> Tensor:
    gradients = fastif.Gradients(world.objective)
    sketcher = GradientSketcher.fit(world.curvature, DAMPING, dimensions=DIMENSIONS)
    train_sketches = compute_train_sketches(sketcher, gradients, world.train)
    query_sketches = compute_query_sketches(sketcher, gradients, world.queries)
    return query_sketches @ train_sketches.float().T / len(train_sketches)


def _recall_at_k(
    scores: Tensor, exact: Tensor, share: float, top_k: int, kind: str, is_two_sided: bool
) -> float:
    """Return the mean share of the `top_k` most influential rows that are candidates."""
    k = max(1, round(share * scores.shape[1]))
    order = scores.argsort(dim=1, descending=True)
    high = k - k // 2 if is_two_sided else k
    candidates = torch.cat([order[:, :high], order[:, order.shape[1] - (k - high) :]], 1)
    is_candidate = torch.zeros_like(exact).scatter_(1, candidates, 1.0)
    size = {"helpful": exact, "harmful": -exact, "unsigned": exact.abs()}[kind]
    return float(is_candidate.gather(1, size.topk(top_k, dim=1).indices).mean())


def _mean_recall(rows: list[dict], method: str) -> list[dict]:
    """Return unsigned recall, averaged over correct and wrong predictions."""
    means = []
    for k in dict.fromkeys(row["m"] for row in rows):
        matching = [r for r in rows if (r["method"], r["m"], r["rows"]) == (method, k, "unsigned")]
        shares = {f"{s:.2%}": sum(r[f"{s:.2%}"] for r in matching) / len(matching) for s in SHARES}
        means.append({"m": k} | shares)
    return means


def _plot_recall(knn_by_k: dict, sketch_by_k: dict) -> str:
    points = [
        {"candidates": share, "recall": curve[k][f"{share:.2%}"], "way": f"{name}, top {k}"}
        for name, curve in (("kNN", knn_by_k), ("sketch", sketch_by_k))
        for k in curve
        for share in SHARES
    ] + [{"candidates": share, "recall": share, "way": "chance"} for share in SHARES]
    base = alt.Chart(pl.DataFrame(points)).encode(
        x=alt.X(
            "candidates:Q",
            scale=alt.Scale(type="log"),
            axis=alt.Axis(format="%"),
            title="candidates, share of the rows",
        ),
        y=alt.Y("recall:Q", axis=alt.Axis(format="%")),
        color=alt.Color("way:N", title=None),
    )
    return chart_to_svg(
        (base.mark_line() + base.mark_circle(size=40)).properties(width=380, height=260)
    )
