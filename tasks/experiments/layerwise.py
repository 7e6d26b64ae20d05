"""Influence by layer, against the influence of some layers alone."""

import altair as alt
import polars as pl
import torch
from torch import Tensor

import fastif
from fastif.attribution.layerwise import ParameterBlocks, layerwise_influence
from fastif.numerics.correlation import spearman
from tasks.experiments.nli_data import write_nli_study
from tasks.experiments.plots import chart_to_svg
from tasks.experiments.result import Claim, ExperimentResult
from tasks.experiments.trained_nli import TrainedNli, make_balanced_picker
from tasks.experiments.workspace import Workspace

DAMPING, TOP_K = 0.1, 50
CURVATURE_ROWS = {"small": 256, "full": 1024}
"""Sampled curvature rows: the exact curvature of all parameters takes hours."""
ALL_TRAINED = "last:3"
ATTRIBUTED_ALONE = {"last layer and head": "last:1", "head": ["pooler", "classifier"]}
"""Parameters that are attributed alone, as is done to save time."""


def reproduce_layerwise(workspace: Workspace) -> ExperimentResult:
    """Compute the effects of all trained parameters by layer, and those of some layers alone."""
    size = workspace.select_size(1_500, 3_500)
    study, pick = (
        write_nli_study(workspace, size, size),
        make_balanced_picker(workspace.select_size(20, 100)),
    )
    by_layer = workspace.cache_tensors(
        "whole",
        lambda: _compute_layer_effects(
            TrainedNli(study, ALL_TRAINED, pick), CURVATURE_ROWS[workspace.scale]
        ),
    )
    names = sorted(name for name in by_layer if name not in ("sizes", "order"))
    sizes = dict(zip(names, by_layer["sizes"].tolist(), strict=True))
    whole = torch.stack([by_layer[name] for name in names]).sum(0)
    rows = [_compare_with_whole(name, sizes[name], by_layer[name], whole) for name in names]
    for name, attributed in ATTRIBUTED_ALONE.items():
        computed = workspace.cache_tensors(
            f"alone-{name.replace(' ', '-')}",
            lambda a=attributed: _compute_effects(
                TrainedNli(study, a, pick), CURVATURE_ROWS[workspace.scale]
            ),
        )
        comparison = _compare_with_whole(
            f"{name}, alone", int(computed["size"]), computed["effects"], whole
        )
        rows.append(comparison | {"share of the effects": None})
    return ExperimentResult(
        claims=_make_claims(rows, len(names)),
        tables={"Effects of all training rows, mean over the queries": rows},
        plots={"parts": _plot_shares(rows[: len(names)])},
        notes=[
            f"{size:,} training pairs, {len(whole)} queries of HANS and MultiNLI, half "
            f"predicted correctly; Gauss-Newton of {CURVATURE_ROWS[workspace.scale]} rows, "
            f"identical for all, λ = {DAMPING:g}.",
            "The effects of the layers add up to the effect of the row. The effect of a layer uses "
            "the gradient of the row in this layer alone, with the inverse curvature of "
            "all parameters.",
        ],
    )


def _make_claims(rows: list[dict], parts: int) -> list[Claim]:
    """Return the claims with the results; the first `parts` rows are those of the layers."""
    head = next(row for row in rows if row["part"] == "head, alone")
    last = next(row for row in rows if row["part"] == "last layer and head, alone")
    largest = max(rows[:parts], key=lambda row: row["share of the effects"] or 0)
    return [
        Claim(
            "(Proposed there, not measured.) Layers differ in their share of an effect.",
            "none",
            f"largest: {largest['part']}, "
            f"{largest['share of the effects']:.0%} of the absolute effects",
            None,
        ),
        Claim(
            "(Added here.) The head alone ranks rows like all trained parameters.",
            "none",
            f"Spearman {head['Spearman with the whole']:.2f}, {head[OVERLAP]:.0%} of the top "
            f"{TOP_K}",
            None,
        ),
        Claim(
            "(Added here.) The last layer and the head rank rows like all trained parameters.",
            "none",
            f"Spearman {last['Spearman with the whole']:.2f}, {last[OVERLAP]:.0%} of the top "
            f"{TOP_K}",
            None,
        ),
    ]


OVERLAP = f"share of the top {TOP_K}"


def _solve_queries(world: TrainedNli, curvature_rows: int) -> Tensor:
    sample = torch.randperm(len(world.train), generator=torch.Generator().manual_seed(0))[
        :curvature_rows
    ]
    matrix = fastif.GaussNewton(world.objective, world.train, sample.sort().values)
    return fastif.Dual().solve(matrix.with_damping(DAMPING), world.query_gradients).value


def _compute_layer_effects(world: TrainedNli, curvature_rows: int) -> dict[str, Tensor]:
    """Return the effects [q n] and the number of parameters of each block."""
    blocks = ParameterBlocks.from_layers(world.objective.space)
    ids = fastif.all_ids(world.train).expand(len(world.positions), -1)
    effects = layerwise_influence(
        fastif.Gradients(world.objective),
        world.train,
        _solve_queries(world, curvature_rows),
        ids,
        blocks,
    )
    by_layer = {name: effects[:, :, i].clone() for i, name in enumerate(blocks.names)}
    sizes = {
        name: sum(where.stop - where.start for where in slices)
        for name, slices in blocks.slices.items()
    }
    return by_layer | {"sizes": torch.tensor([sizes[name] for name in sorted(by_layer)])}


def _compute_effects(world: TrainedNli, curvature_rows: int) -> dict[str, Tensor]:
    return {
        "effects": world.compute_removal_effects(_solve_queries(world, curvature_rows)),
        "size": torch.tensor(world.objective.space.size),
    }


def _compare_with_whole(name: str, size: int, effects: Tensor, whole: Tensor) -> dict:
    """Compare the effects of a layer with those of all parameters, mean over the queries."""
    common = [
        {*a.abs().topk(TOP_K).indices.tolist()} & {*b.abs().topk(TOP_K).indices.tolist()}
        for a, b in zip(effects, whole, strict=True)
    ]
    return {
        "part": name,
        "parameters": size,
        "share of the effects": float((effects * whole.sign()).sum() / whole.abs().sum()),
        "Spearman with the whole": float(spearman(effects, whole).mean()),
        OVERLAP: sum(map(len, common)) / (TOP_K * len(common)),
    }


def _plot_shares(rows: list[dict]) -> str:
    shares = [{"part": row["part"], "share": row["share of the effects"]} for row in rows]
    base = alt.Chart(pl.DataFrame(shares)).encode(
        x=alt.X("share:Q", axis=alt.Axis(format="%"), title="share of the effects"),
        y=alt.Y("part:N", title=None, sort=None, axis=alt.Axis(labelLimit=300)),
    )
    return chart_to_svg(base.mark_bar().properties(width=320))
