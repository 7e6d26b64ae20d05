"""Tensors become the columns of the store's tables."""

from collections.abc import Sequence

import polars as pl
import torch
from torch import Tensor

import fastif
from storage import SCORES, SOLVES, TOTALS, polars_schema, queries_schema, train_schema
from tasks.data.dataset import Table
from tasks.run.context import Job


def score_frames(
    job: Job, ids: Tensor, answer: fastif.Attribution, outputs: Tensor, losses: Tensor
) -> dict[str, pl.DataFrame]:
    """The three tables of one shard of queries."""
    solver = "sketch" if job.by_sketches else job.study.solver.kind
    return {
        "scores": scores_frame(ids, answer.influences),
        "solves": solves_frame(ids, answer.certificate, solver),
        "queries": _examples_frame(
            "query",
            job.plan.inputs.queries,
            job.query_texts,
            job.study.labels,
            ids,
            outputs,
            losses,
        ),
    }


def train_frame(job: Job, ids: Tensor, outputs: Tensor, losses: Tensor) -> pl.DataFrame:
    """Rows of the table of training examples."""
    texts, table = job.train_texts, job.plan.inputs.train
    frame = _examples_frame("train", table, texts, job.study.labels, ids, outputs, losses)
    order = polars_schema(train_schema(list(table.groups)))
    unknown = {"self_influence": pl.lit(None, pl.Float32), "trained": pl.lit(None, pl.Boolean)}
    return frame.with_columns(**unknown).select(order.names())


def scores_frame(ids: Tensor, found: fastif.Influences) -> pl.DataFrame:
    """One row a scored pair; cells without an example are dropped."""
    count, width = found.ids.shape
    columns = {
        "query": ids.repeat_interleave(width).numpy(),
        "train": found.ids.flatten().numpy(),
        "rank": torch.arange(width).repeat(count).numpy(),
        "removal_effect": found.removal_effect.flatten().numpy(),
        "distance": None if found.distances is None else found.distances.flatten().numpy(),
        "spread": None if found.spread is None else found.spread.flatten().numpy(),
    }
    return pl.DataFrame(columns).filter(pl.col("train") >= 0).cast(polars_schema(SCORES))


def totals_frame(slices: pl.DataFrame, totals: fastif.Totals) -> pl.DataFrame:
    """One row a training row and slice; none for a training row without a finite gradient.

    Args:
        slices: what the queries of each slice have in common, in the order of their numbers.
        totals: the sums.
    """
    count = totals.effects.shape[1]
    columns = {
        "train": torch.arange(count).repeat(len(slices)).numpy(),
        "removal_effect": totals.effects.flatten().numpy(),
    }
    numbered = slices.select(pl.all().repeat_by(count).explode(empty_as_null=False))
    frame = pl.DataFrame(columns).hstack(numbered).filter(pl.col("removal_effect").is_not_nan())
    schema = polars_schema(TOTALS)
    return frame.select(schema.names()).cast(schema)


def solves_frame(ids: Tensor, known: fastif.Certificate, solver: str) -> pl.DataFrame:
    """One row a query: how it was solved, and how far to trust it."""
    columns = {
        "query": ids.numpy(),
        "reason": list(known.reasons),
        "residual": _finite(known.residual),
        "full_residual": _finite(known.full_residual),
        "converged": known.converged.cpu().numpy(),
        "steps": known.steps,
        "damping": known.damping,
        "gradient_norm": _finite(known.gradient_norm),
        "solution_norm": _finite(known.solution_norm),
        "gradient_cosine": _finite(known.gradient_cosine),
        "score_correlation": _finite(known.score_correlation),
        "resembles_gradient_product": known.resembles_gradient_product.cpu().numpy(),
        "spread": _finite(known.spread),
        "dropped": known.dropped.numpy(),
        "models": known.models,
        "agreement": _finite(known.agreement),
        "held": _finite(known.held),
        "rounding": _finite(known.rounding),
        "least_eigenvalue": known.least_eigenvalue,
        "route": known.route,
        "leverage": known.leverage,
        "solver": solver,
        "origin": None,
    }
    schema = polars_schema(SOLVES)
    return pl.DataFrame(columns).select(schema.names()).cast(schema)


def _finite(numbers: Tensor | None) -> pl.Series | None:
    """The numbers as a column, null where they are not finite."""
    if numbers is None:
        return None
    column = pl.Series(numbers.cpu().float().numpy())
    return pl.select(pl.when(column.is_finite()).then(column)).to_series()


def _examples_frame(
    key: str,
    table: Table,
    texts: fastif.TextExamples,
    labels: Sequence[str],
    ids: Tensor,
    outputs: Tensor,
    losses: Tensor,
) -> pl.DataFrame:
    rows = ids.tolist()
    given, predicted = texts.labels[ids].cpu(), outputs.argmax(1).cpu()
    sound = torch.isfinite(outputs).all(1).cpu()
    probability = outputs.softmax(1).cpu().gather(1, given[:, None])[:, 0]
    answers = zip(predicted.tolist(), sound.tolist(), strict=True)
    columns: dict[str, object] = {
        key: rows,
        "id": [table.ids[i] for i in rows],
        "text": [table.texts[i] for i in rows],
        "text_pair": None if table.text_pairs is None else [table.text_pairs[i] for i in rows],
        "label": [labels[i] for i in given.tolist()],
        "prediction": [labels[unit] if fine else None for unit, fine in answers],
        "loss": _finite(losses),
        "probability": _finite(probability),
        "correct": (sound & (given == predicted)).numpy(),
        "truncated": texts.truncated[ids].numpy(),
    }
    columns |= {f"group_{name}": [group[i] for i in rows] for name, group in table.groups.items()}
    schema = polars_schema(queries_schema(list(table.groups)))
    names = {"query": key}
    wanted = {names.get(name, name): dtype for name, dtype in schema.items()}
    return pl.DataFrame(columns).cast(wanted)  # type: ignore[arg-type]
