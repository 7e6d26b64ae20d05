"""Conversion of tensors to frames of the store's tables."""

import math

import polars as pl
import pyarrow as pa
import torch
from torch import Tensor

import fastif
from fastif.attribution.certificate import Certificate
from fastif.attribution.slice_totals import SliceTotals
from storage import polars_schema
from storage.schemas import SCORES, SOLVES, TOTALS
from tasks.audit.example_frames import make_queries_frame, null_nonfinite
from tasks.run.context import RunContext


def make_shard_frames(
    context: RunContext,
    ids: Tensor,
    attribution: fastif.Attribution,
    outputs: Tensor,
    losses: Tensor,
) -> dict[str, pl.DataFrame]:
    """Return the tables `scores`, `solves` and `queries` of a shard."""
    solver = "sketch" if context.has_sketch_scores else context.solver.kind
    solver = "unrolled differentiation" if context.is_unrolled else solver
    solver = context.study.trees.method if context.study.has_trees else solver
    return {
        "scores": make_scores_frame(ids, attribution.influences),
        "solves": make_solves_frame(ids, attribution.certificate, solver),
        "queries": make_queries_frame(context, ids, outputs, losses),
    }


def make_scores_frame(ids: Tensor, influences: fastif.Influences) -> pl.DataFrame:
    """Return one row a scored pair; padding (id -1) is dropped."""
    count, width = influences.ids.shape
    columns = {
        "query": ids.repeat_interleave(width).numpy(),
        "train": influences.ids.flatten().numpy(),
        "rank": torch.arange(width).repeat(count).numpy(),
        "removal_effect": influences.removal_effect.flatten().numpy(),
        "distance": None
        if influences.distances is None
        else influences.distances.flatten().numpy(),
        "spread": None if influences.spread is None else influences.spread.flatten().numpy(),
        "ranking_score": None
        if influences.ranking_score is None
        else influences.ranking_score.flatten().numpy(),
    }
    return pl.DataFrame(columns).filter(pl.col("train") >= 0).cast(polars_schema(SCORES))


def make_totals_frame(slices: pl.DataFrame, totals: SliceTotals) -> pl.DataFrame:
    """Return one row a training row and slice, without training rows that have no finite gradient.

    Args:
        slices: Key and number of queries of each slice, by slice number.
        totals: Summed effects, [slices, n].
    """
    count = totals.effects.shape[1]
    columns = {
        "train": torch.arange(count).repeat(len(slices)).numpy(),
        "removal_effect": totals.effects.flatten().numpy(),
    }
    repeated = slices.select(pl.all().repeat_by(count).explode(empty_as_null=False))
    frame = pl.DataFrame(columns).hstack(repeated).filter(pl.col("removal_effect").is_not_nan())
    schema = polars_schema(TOTALS)
    return frame.select(schema.names()).cast(schema)


def make_solves_frame(
    ids: Tensor, certificate: Certificate, solver: str, schema: pa.Schema = SOLVES
) -> pl.DataFrame:
    """Return one row a query with the certificate of its solve.

    Each column is the attribute of the certificate with the same name, except those in `own`.
    """
    damping = None if math.isnan(certificate.damping) else certificate.damping
    own = {
        "query": ids,
        "reason": list(certificate.reasons),
        "solver": solver,
        "origin": None,
        "damping": damping,
    }
    types = polars_schema(schema)
    values = {
        name: own[name] if name in own else getattr(certificate, name) for name in types.names()
    }
    return pl.DataFrame({name: _as_column(value) for name, value in values.items()}).cast(types)


def _as_column(value: object) -> object:
    """Convert a tensor to a column; a value that holds for all queries is returned unchanged."""
    if not isinstance(value, Tensor):
        return value
    return null_nonfinite(value) if value.is_floating_point() else value.cpu().numpy()
