"""What a run takes over from the night before, and how it is brought up to date."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
import torch
from torch import Tensor

import fastif
from fastif.candidates.sketch_index import StoredSketches
from fastif.evaluation.recall import Recall
from storage import SCORES, StoreError, polars_schema, queries_schema, train_schema
from tasks.data.row_hashes import row_digests, stored_row_digests
from tasks.run.reused_recall import recall_of
from tasks.run.sketches import asked_sketches

if TYPE_CHECKING:  # a job asks this module what it takes over
    from tasks.run.context import Job

NONE = -1


@dataclass(frozen=True, eq=False)
class Carried:
    """Where the rows of tonight's tables stood the night before; -1 for those that are new.

    Attributes:
        queries: position in the earlier table of queries, [q].
        train: position in the earlier training table, [n].
        rows_before: of the earlier training table.
    """

    queries: Tensor
    train: Tensor
    rows_before: int

    @property
    def places(self) -> dict[str, Tensor]:
        """Both, by the name of the table."""
        return {"queries": self.queries, "train": self.train}

    @property
    def fresh_train(self) -> Tensor:
        """Positions of the new training rows."""
        return (self.train == NONE).nonzero()[:, 0]

    @property
    def train_changed(self) -> bool:
        """Whether the training table is another one."""
        same = len(self.train) == self.rows_before
        return not same or not torch.equal(self.train, torch.arange(self.rows_before))


def carried_of(job: "Job") -> Carried | None:
    """What the run takes over; None if it begins from nothing."""
    lineage, labels = job.plan.lineage, job.study.labels
    if lineage is None:
        return None
    base, inputs = _base(job), job.plan.inputs
    old = [stored_row_digests(job.store, base, name) for name in ("queries", "train")]
    return Carried(
        _places(old[0], row_digests(inputs.queries, labels)),
        _places(old[1], row_digests(inputs.train, labels)),
        len(old[1]),
    )


def kept_frames(job: "Job", carried: Carried, ids: Tensor) -> dict[str, pl.DataFrame]:
    """The tables of queries that were answered before, under their new positions.

    Scores become those of tonight's training table: `removal_effect` has a factor 1 / n, rows that
    are gone drop out, and new rows that belong to the k most extreme come in.
    """
    base = _base(job)
    places = pl.DataFrame(
        {"before": carried.queries[ids].numpy(), "now": ids.numpy()},
        schema={"before": pl.UInt32, "now": pl.UInt32},
    )
    scores, solves, queries = (
        job.store.scan(table, base)
        .filter(pl.col("query").is_in(places["before"].implode()))
        .collect()
        .join(places, left_on="query", right_on="before")
        .with_columns(query=pl.col("now"))
        .drop("now")
        for table in ("scores", "solves", "queries")
    )
    if carried.train_changed:
        answered = solves.filter(pl.col("reason").is_null())["query"]
        scores = _up_to_date(job, carried, scores, torch.tensor(answered.to_list()).long())
    origin = pl.coalesce("origin", pl.lit(base))
    return {
        "scores": scores.sort("query", "rank"),
        "solves": solves.with_columns(origin=origin).sort("query"),
        "queries": _named(job, queries),
    }


def kept_train(job: "Job", carried: Carried) -> pl.DataFrame:
    """Tonight's rows of table `train` that were there before, under their new positions."""
    now = (carried.train != NONE).nonzero()[:, 0]
    places = pl.DataFrame(
        {"before": carried.train[now].numpy(), "now": now.numpy()},
        schema={"before": pl.UInt32, "now": pl.UInt32},
    )
    rows = job.store.scan("train", _base(job)).collect()
    rows = rows.join(places, left_on="train", right_on="before").with_columns(train=pl.col("now"))
    table = job.plan.inputs.train
    return _with_names(rows.drop("now"), "train", table.ids, table.groups).sort("train")


def recalled(job: "Job") -> list[Recall]:
    """The recall of the night before."""
    return recall_of(job.store, _base(job))


def lost_choice(job: "Job", what: str) -> StoreError:
    """That a choice of the first night is not in the store any more."""
    return StoreError.at(
        f"run {job.plan.record.run}",
        expected=f"the {what} that run {job.plan.root.run} chose, under parts",
        got="none",
        remedy="Put that part back, or leave [carry] out for one night.",
    )


def _base(job: "Job") -> str:
    assert job.plan.lineage is not None
    base = job.plan.lineage.base
    if base is None:
        raise StoreError.at(
            f"run {job.plan.record.run}",
            expected="the run whose answers it took over",
            got="no such run: it was forgotten",
            remedy="Remove this run, and begin it anew.",
        )
    return base.run


def _places(before: Sequence[bytes], now: Sequence[bytes]) -> Tensor:
    """Of each row now its position before, or -1; of rows that are alike the first is the first."""
    old, new = (_numbered(rows) for rows in (before, now))
    found = new.join(old, on=("row", "again"), how="left", maintain_order="left", suffix="_before")
    return torch.tensor(found["at_before"].cast(pl.Int64).fill_null(NONE).to_list()).long()


def _numbered(rows: Sequence[bytes]) -> pl.DataFrame:
    frame = pl.DataFrame({"row": list(rows)}, schema={"row": pl.Binary})
    return frame.with_columns(again=pl.int_range(pl.len()).over("row")).with_row_index("at")


def _up_to_date(job: "Job", carried: Carried, scores: pl.DataFrame, asked: Tensor) -> pl.DataFrame:
    """The k most extreme of the earlier scores that are left and those of new training rows."""
    now = (carried.train != NONE).nonzero()[:, 0]
    places = pl.DataFrame(
        {"train": carried.train[now].numpy(), "now": now.numpy()},
        schema={"train": pl.UInt32, "now": pl.UInt32},
    )
    ratio = carried.rows_before / len(carried.train)
    left = scores.join(places, on="train").select(
        "query", train=pl.col("now"), removal_effect=pl.col("removal_effect") * ratio
    )
    effects = _effects(job, asked, carried.fresh_train)
    added = pl.DataFrame(
        {
            "query": asked.repeat_interleave(effects.shape[1]).numpy(),
            "train": carried.fresh_train.repeat(len(asked)).numpy(),
            "removal_effect": effects.flatten().numpy(),
        }
    ).cast(left.schema)  # type: ignore[arg-type]
    k = getattr(job.candidates, "k", None) or left.height
    place, count = pl.int_range(pl.len()).over("query"), pl.len().over("query")
    ends = (pl.col("place") < k // 2) | (pl.col("place") >= pl.col("count") - (k - k // 2))
    ranked = (
        pl.concat([left, added])
        .sort("query", "removal_effect", "train")
        .with_columns(place=place, count=count)
        .filter(ends)
        .with_columns(rank=pl.int_range(pl.len()).over("query"))
    )
    schema = polars_schema(SCORES)
    missing = {name: pl.lit(None) for name in schema if name not in ranked.columns}
    return ranked.with_columns(**missing).select(schema.names()).cast(schema)


def _effects(job: "Job", asked: Tensor, fresh: Tensor) -> Tensor:
    """removal_effect of new training rows on these queries by their sketches, [q m]."""
    search = job.search
    assert isinstance(search, fastif.Sketched), "only scores by sketches follow other rows"
    assert isinstance(search.index, StoredSketches), "scores by sketches are searched exactly"
    rows = asked_sketches(job, search, asked, keep=True).cpu()
    return rows @ search.index.take(fresh).T / search.index.count


def _named(job: "Job", queries: pl.DataFrame) -> pl.DataFrame:
    table = job.plan.inputs.queries
    return _with_names(queries, "query", table.ids, table.groups).sort("query")


def _with_names(
    rows: pl.DataFrame, key: str, ids: Sequence[str], groups: dict[str, list[str | None]]
) -> pl.DataFrame:
    """Ids and groups as tonight's table has them: they may change while the text stays."""
    places = rows[key].to_list()
    columns = {"id": [ids[i] for i in places]}
    columns |= {f"group_{name}": [group[i] for i in places] for name, group in groups.items()}
    gone = [c for c in rows.columns if c.startswith("group_") and c not in columns]
    named = (pl.Series(name, values, pl.String) for name, values in columns.items())
    schema = train_schema if key == "train" else queries_schema
    order = polars_schema(schema(list(groups))).names()
    return rows.drop(gone).with_columns(*named).select(order)
