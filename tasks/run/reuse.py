"""Incremental runs: reuse of a parent run's results, updated for changed tables."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from fastif.candidates.sketch_index import SketchIndex
from fastif.evaluation.recall import Recall
from storage import StoreError, polars_schema
from storage.example_schemas import queries_schema, train_schema
from storage.schemas import SCORES
from tasks.data.row_hashes import read_row_digests, row_digests
from tasks.run.assemble import make_search
from tasks.run.context import RunContext
from tasks.run.sketches import load_query_sketches

NEW_ROW = -1


@dataclass(frozen=True, eq=False)
class Reuse:
    """Positions of the rows of a run in the tables of its parent run; -1 for new rows.

    Attributes:
        queries: Position of each query in the parent's table of queries, [q].
        train: Position of each training row in the parent's training table, [n].
        rows_before: Number of training rows of the parent.
    """

    queries: Tensor
    train: Tensor
    rows_before: int

    @property
    def positions(self) -> dict[str, Tensor]:
        """Positions by the name of the table."""
        return {"queries": self.queries, "train": self.train}

    @property
    def new_train(self) -> Tensor:
        """Positions of the new training rows."""
        return (self.train == NEW_ROW).nonzero()[:, 0]

    @property
    def has_train_changed(self) -> bool:
        """Whether the training table differs from the parent's."""
        is_same_length = len(self.train) == self.rows_before
        return not is_same_length or not torch.equal(self.train, torch.arange(self.rows_before))


def get_reuse(context: RunContext) -> Reuse | None:
    """Return what the run reuses from its parent, cached; None for a full run."""
    return context.memo.get("reuse", lambda: _find_reuse(context))


def _find_reuse(context: RunContext) -> Reuse | None:
    lineage, labels = context.plan.lineage, context.study.labels
    if lineage is None:
        return None
    parent, inputs = _find_parent_name(context), context.plan.inputs
    earlier_digests = [
        read_row_digests(context.store, parent, name) for name in ("queries", "train")
    ]
    return Reuse(
        _match_rows(earlier_digests[0], row_digests(inputs.queries, labels)),
        _match_rows(earlier_digests[1], row_digests(inputs.train, labels)),
        len(earlier_digests[1]),
    )


def read_reused_frames(context: RunContext, reuse: Reuse, ids: Tensor) -> dict[str, pl.DataFrame]:
    """Read the parent's tables for queries that it has scored, with their new positions.

    Scores are updated to the present training table: `removal_effect` is rescaled by n_before / n,
    removed rows drop out, and new rows enter if they are among the top-k and bottom-k.
    """
    parent = _find_parent_name(context)
    places = pl.DataFrame(
        {"before": reuse.queries[ids].numpy(), "now": ids.numpy()},
        schema={"before": pl.UInt32, "now": pl.UInt32},
    )
    scores, solves, queries = (
        context.store.scan(table, parent)
        .filter(pl.col("query").is_in(places["before"].implode()))
        .collect()
        .join(places, left_on="query", right_on="before")
        .with_columns(query=pl.col("now"))
        .drop("now")
        for table in ("scores", "solves", "queries")
    )
    if reuse.has_train_changed:
        answered = solves.filter(pl.col("reason").is_null())["query"]
        scores = _update_scores(context, reuse, scores, torch.tensor(answered.to_list()).long())
    origin = pl.coalesce("origin", pl.lit(parent))
    return {
        "scores": scores.sort("query", "rank"),
        "solves": solves.with_columns(origin=origin).sort("query"),
        "queries": _rename_queries(context, queries),
    }


def read_reused_train(context: RunContext, reuse: Reuse) -> pl.DataFrame:
    """Read the rows of table `train` that the parent run has, with their new positions."""
    now = (reuse.train != NEW_ROW).nonzero()[:, 0]
    places = pl.DataFrame(
        {"before": reuse.train[now].numpy(), "now": now.numpy()},
        schema={"before": pl.UInt32, "now": pl.UInt32},
    )
    rows = context.store.scan("train", _find_parent_name(context)).collect()
    rows = rows.join(places, left_on="train", right_on="before").with_columns(train=pl.col("now"))
    table = context.plan.inputs.train
    return _replace_names(rows.drop("now"), "train", table.ids, table.groups).sort("train")


def read_reused_recall(context: RunContext) -> list[Recall]:
    """Return the recall in the parent's row of table `runs`; empty if it was not measured."""
    rows = context.store.scan("runs", _find_parent_name(context)).select("recall").collect()
    (stored,) = rows["recall"].to_list()
    return [Recall(**fields) for fields in json.loads(stored or "[]")]


def make_lost_choice_error(context: RunContext, what: str) -> StoreError:
    """Return the error for a selected setting of the root run that is missing from the store."""
    return StoreError(
        f"run {context.plan.record.run}",
        expected=f"the {what} that run {context.plan.root.run} selected, in the folder parts",
        got="none",
        remedy="Restore it from a backup, or do one full run without the section [carry].",
    )


def _find_parent_name(context: RunContext) -> str:
    assert context.plan.lineage is not None
    parent = context.plan.lineage.parent
    if parent is None:
        raise StoreError(
            f"run {context.plan.record.run}",
            expected="its parent run, from which it reuses results",
            got="no such run: it was removed",
            remedy="Remove this run and start it again.",
        )
    return parent.run


def _match_rows(before: Sequence[bytes], now: Sequence[bytes]) -> Tensor:
    """Return the earlier position of each row or -1; equal rows are paired in order."""
    before_rows, now_rows = (_number_rows(rows) for rows in (before, now))
    matches = now_rows.join(
        before_rows, on=("row", "again"), how="left", maintain_order="left", suffix="_before"
    )
    return torch.tensor(matches["at_before"].cast(pl.Int64).fill_null(NEW_ROW).to_list()).long()


def _number_rows(rows: Sequence[bytes]) -> pl.DataFrame:
    frame = pl.DataFrame({"row": list(rows)}, schema={"row": pl.Binary})
    return frame.with_columns(again=pl.int_range(pl.len()).over("row")).with_row_index("at")


def _update_scores(
    context: RunContext, reuse: Reuse, scores: pl.DataFrame, query_ids: Tensor
) -> pl.DataFrame:
    """Return the top-k and bottom-k of the remaining earlier scores and those of new rows."""
    now = (reuse.train != NEW_ROW).nonzero()[:, 0]
    places = pl.DataFrame(
        {"train": reuse.train[now].numpy(), "now": now.numpy()},
        schema={"train": pl.UInt32, "now": pl.UInt32},
    )
    ratio = reuse.rows_before / len(reuse.train)
    remaining = scores.join(places, on="train").select(
        "query", train=pl.col("now"), removal_effect=pl.col("removal_effect") * ratio
    )
    effects = _compute_effects(context, query_ids, reuse.new_train)
    added = pl.DataFrame(
        {
            "query": query_ids.repeat_interleave(effects.shape[1]).numpy(),
            "train": reuse.new_train.repeat(len(query_ids)).numpy(),
            "removal_effect": effects.flatten().numpy(),
        }
    ).cast(remaining.schema)  # type: ignore[arg-type]
    (method,) = context.candidates.methods
    k = method.k or remaining.height
    place, count = pl.int_range(pl.len()).over("query"), pl.len().over("query")
    is_extreme = (pl.col("place") < k // 2) | (pl.col("place") >= pl.col("count") - (k - k // 2))
    ranked = (
        pl.concat([remaining, added])
        .sort("query", "removal_effect", "train")
        .with_columns(place=place, count=count)
        .filter(is_extreme)
        .with_columns(rank=pl.int_range(pl.len()).over("query"))
    )
    schema = polars_schema(SCORES)
    missing = {name: pl.lit(None) for name in schema if name not in ranked.columns}
    return ranked.with_columns(**missing).select(schema.names()).cast(schema)


def _compute_effects(context: RunContext, query_ids: Tensor, new_train: Tensor) -> Tensor:
    """Return the effects of new training rows on queries by sketches, [q, m]."""
    search = make_search(context).without_rescoring
    assert search is not None, "only scores by sketches can be updated for new rows"
    assert isinstance(search.index, SketchIndex), "scores by sketches are searched exactly"
    sketches = load_query_sketches(context, search, query_ids, keep=True).cpu()
    return sketches @ search.index.take(new_train).T / search.index.count


def _rename_queries(context: RunContext, queries: pl.DataFrame) -> pl.DataFrame:
    table = context.plan.inputs.queries
    return _replace_names(queries, "query", table.ids, table.groups).sort("query")


def _replace_names(
    rows: pl.DataFrame, key: str, ids: Sequence[str], groups: dict[str, list[str | None]]
) -> pl.DataFrame:
    """Set ids and groups to those of the present table, since they may change for equal texts."""
    places = rows[key].to_list()
    columns = {"id": [ids[i] for i in places]}
    columns |= {f"group_{name}": [group[i] for i in places] for name, group in groups.items()}
    missing_columns = [
        column for column in rows.columns if column.startswith("group_") and column not in columns
    ]
    name_columns = (pl.Series(name, values, pl.String) for name, values in columns.items())
    schema = train_schema if key == "train" else queries_schema
    order = polars_schema(schema(list(groups))).names()
    return rows.drop(missing_columns).with_columns(*name_columns).select(order)
