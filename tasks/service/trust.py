"""Trust: what the night and the start of the service measured of the effects' accuracy."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from storage import Store


@dataclass(frozen=True)
class SearchCheck:
    """Recall of the search against all inner products, at random training rows as queries.

    Attributes:
        recall: Share of the true top-k and bottom-k rows that the search returns, 0 to 1.
        at: Number of rows at each end.
        queries: Number of training rows whose sketches were the queries.
    """

    recall: float
    at: int
    queries: int


@dataclass(frozen=True)
class EffectCheck:
    """Agreement of the effects of sketches with those that the night stored for its queries.

    Attributes:
        correlation: Median Pearson correlation over queries, of the effects of the stored pairs.
        same_sign: Share of the stored pairs whose effects have the same sign.
        queries: Number of queries.
        pairs: Number of stored pairs.
    """

    correlation: float
    same_sign: float
    queries: int
    pairs: int


@dataclass(frozen=True)
class Trust:
    """Measured accuracy of the effects.

    Attributes:
        run: Name of the run whose sketches are used.
        finished: Time at which it finished, in ISO format.
        train_rows: Number n of training rows.
        dimensions: Length of a sketch.
        damping: Effective damping of the curvature.
        rescored: Whether the night scored its candidates exactly, so that its effects are others.
        recall: Recall of the night's candidates, as its row of the table `runs` has it.
        residual: Largest relative residual of the night's linear systems; None for sketch scores.
        search: Recall of the search of the sketches; None before it is measured.
        effects: Agreement with the effects that the night stored; None if there are none.
        notes: Sentences on what is other than in the night's run.
    """

    run: str
    finished: str
    train_rows: int
    dimensions: int
    damping: float
    rescored: bool
    recall: Sequence[Mapping[str, Any]] = ()
    residual: float | None = None
    search: SearchCheck | None = None
    effects: EffectCheck | None = None
    notes: tuple[str, ...] = ()

    def describe(self) -> list[str]:
        """Return sentences on the accuracy of the effects."""
        sentences = [
            f"The audit's recall of the top {entry['at']}: {entry['share']:.2f}."
            for entry in self.recall
        ]
        if self.search is not None:
            sentences.append(
                f"The search returns {self.search.recall:.1%} of the {self.search.at} rows at each "
                f"end, on {self.search.queries} training rows as queries."
            )
        if self.effects is not None:
            sentences.append(
                f"Effects correlate {self.effects.correlation:.3f} (median over "
                f"{self.effects.queries} queries) with those of the audit, and "
                f"{self.effects.same_sign:.1%} have the same sign."
            )
        return [*sentences, *self.notes]

    def as_json(self) -> dict[str, Any]:
        """Return the record for a response."""
        record = dict(vars(self))
        for name in ("search", "effects"):
            record[name] = None if record[name] is None else dict(vars(record[name]))
        return record | {"recall": [dict(entry) for entry in self.recall]}


def read_trust(store: Store, run: str, dimensions: int) -> Trust:
    """Return what the store has of a finished run."""
    facts = store.scan("runs", run).collect().to_dicts()[0]
    solves = store.scan("solves", run).select(pl.col("residual").max()).collect()
    candidates = json.loads(facts["candidates"])
    recall = json.loads(facts["recall"]) if facts["recall"] else []
    overall = [entry for entry in recall if not (entry.get("label") or entry.get("slice"))]
    return Trust(
        run,
        facts["finished"].isoformat(timespec="seconds"),
        int(facts["train_rows"]),
        dimensions,
        float(facts["damping"]),
        bool(candidates.get("rescore", True)),
        overall,
        solves["residual"][0],
    )
