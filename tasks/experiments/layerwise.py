"""Which parts of a network an effect goes through, and what is missed if one alone is asked."""

import altair as alt
import polars as pl
import torch
from torch import Tensor

import fastif
from fastif.numerics.correlation import spearman
from tasks.experiments.nli_data import written
from tasks.experiments.plots import BLUE, svg
from tasks.experiments.result import Claim, Outcome
from tasks.experiments.trained_nli import BATCH, Explained, halves
from tasks.experiments.workspace import Place

DAMPING, TOP = 0.1, 50
ROOTS = {"small": 256, "full": 1024}
"""Rows that the curvature is of, drawn once: of all parameters the exact one takes hours."""
WHOLE = "last:3"
ALONE = {"last layer and head": "last:1", "head": ["pooler", "classifier"]}
"""Attributed by themselves, as is done to save time."""


def parts(place: Place) -> Outcome:
    """Effects of all trained parameters, split by layer, and effects of some layers alone."""
    size = place.sized(1_500, 3_500)
    study, pick = written(place, size, size), halves(place.sized(20, 100))
    made = place.kept("whole", lambda: _whole(Explained(study, WHOLE, pick), ROOTS[place.scale]))
    names = sorted(name for name in made if name not in ("sizes", "order"))
    sizes = dict(zip(names, made["sizes"].tolist(), strict=True))
    whole = torch.stack([made[name] for name in names]).sum(0)
    rows = [_told(name, sizes[name], made[name], whole) for name in names]
    for name, attributed in ALONE.items():
        found = place.kept(
            f"alone-{name.replace(' ', '-')}",
            lambda a=attributed: _alone(Explained(study, a, pick), ROOTS[place.scale]),
        )
        told = _told(f"{name}, by itself", int(found["size"]), found["effects"], whole)
        rows.append(told | {"share of the effects": None})
    head = next(row for row in rows if row["part"] == "head, by itself")
    last = next(row for row in rows if row["part"] == "last layer and head, by itself")
    largest = max(rows[: len(names)], key=lambda row: row["share of the effects"] or 0)
    return Outcome(
        claims=[
            Claim("(Proposed, not done there.) Parts differ in how much of an effect goes through "
                  "them.", "none", f"most through {largest['part']}: "
                  f"{largest['share of the effects']:.0%} of the absolute effects", None),
            Claim("(Ours.) The head by itself ranks rows as all trained parameters do.", "none",
                  f"Spearman {head['Spearman with the whole']:.2f}, {head[OVERLAP]:.0%} of the top "
                  f"{TOP}", None),
            Claim("(Ours.) The last layer and the head do.", "none",
                  f"Spearman {last['Spearman with the whole']:.2f}, {last[OVERLAP]:.0%} of the top "
                  f"{TOP}", None),
        ],
        tables={"Effects of all training rows, mean over the queries": rows},
        plots={"parts": _drawn(rows[: len(names)])},
        notes=[f"{size:,} training pairs, {len(whole)} queries of HANS and MultiNLI, half "
               f"predicted right; Gauss-Newton of the same {ROOTS[place.scale]} rows for all, "
               f"λ = {DAMPING:g}. The parts of a "
               "row's effect add up to the effect: each is what its share of the row's pull does "
               "to the query once all parameters have given way."],
    )  # fmt: skip


OVERLAP = f"share of the top {TOP}"


def _solved(world: Explained, roots: int) -> Tensor:
    drawn = torch.randperm(len(world.train), generator=torch.Generator().manual_seed(0))[:roots]
    matrix = fastif.GaussNewton(world.objective, world.train, drawn.sort().values, batch_size=BATCH)
    return fastif.Dual().solve(matrix.damped(DAMPING), world.gradients).value


def _whole(world: Explained, roots: int) -> dict[str, Tensor]:
    """Effects [q n] of each block, and how many parameters it has."""
    blocks = fastif.Blocks.by_layer(world.objective.space)
    ids = fastif.every(world.train).expand(len(world.picked), -1)
    found = fastif.influence_by_block(
        fastif.Gradients(world.objective), world.train, _solved(world, roots), ids, blocks,
        batch_size=BATCH,
    )  # fmt: skip
    made = {name: found[:, :, i].clone() for i, name in enumerate(blocks.names)}
    count = {
        name: sum(where.stop - where.start for where in slices)
        for name, slices in blocks.slices.items()
    }
    return made | {"sizes": torch.tensor([count[name] for name in sorted(made)])}


def _alone(world: Explained, roots: int) -> dict[str, Tensor]:
    return {
        "effects": world.scores(_solved(world, roots)),
        "size": torch.tensor(world.objective.space.size),
    }


def _told(name: str, size: int, effects: Tensor, whole: Tensor) -> dict:
    """How a part's effects compare with those of all, mean over the queries."""
    top = [
        {*a.abs().topk(TOP).indices.tolist()} & {*b.abs().topk(TOP).indices.tolist()}
        for a, b in zip(effects, whole, strict=True)
    ]
    return {
        "part": name,
        "parameters": size,
        "share of the effects": float((effects * whole.sign()).sum() / whole.abs().sum()),
        "Spearman with the whole": float(spearman(effects, whole).mean()),
        OVERLAP: sum(map(len, top)) / (TOP * len(top)),
    }


def _drawn(rows: list[dict]) -> str:
    told = [{"part": row["part"], "share": row["share of the effects"]} for row in rows]
    base = alt.Chart(pl.DataFrame(told)).encode(
        x=alt.X("share:Q", axis=alt.Axis(format="%"), title="share of the effects"),
        y=alt.Y("part:N", title=None, sort=None, axis=alt.Axis(labelLimit=300)),
    )
    return svg(base.mark_bar(color=BLUE).properties(width=320))
