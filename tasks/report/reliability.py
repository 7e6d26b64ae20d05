"""How far the numbers of a night may be trusted, in words for people who did not make them."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from scipy.stats import binomtest, spearmanr

from tasks.report.duplicates import Duplicates
from tasks.report.formatting import Row
from tasks.report.run_data import Night
from tasks.report.tfidf_space import Space
from tasks.results.diagnostics import LEAKED

RECALL, RESIDUAL, CANARIES = 0.95, 1e-2, 0.5
ASKED, TOP = 200, 10


@dataclass(frozen=True)
class Assurance:
    """One thing that was measured.

    Attributes:
        name: of it.
        figure: as measured.
        words: what it means.
        fine: whether it is as it should be; None where nobody can say.
        unsure: that is because too little was measured, and not because there is no limit.
    """

    name: str
    figure: str
    words: str
    fine: bool | None = None
    unsure: bool = False

    @property
    def state(self) -> str:
        """Whether it is in order, in a word or two."""
        unknown = "not enough to tell" if self.unsure else "no limit"
        return {None: unknown, True: "yes", False: "no"}[self.fine]


@dataclass(frozen=True)
class Baseline:
    """Something simpler that could have been looked at instead.

    Attributes:
        name: of it.
        correlation: rank correlation with influence.
        overlap: share of the ten largest effects that it finds too; None where there is no such.
        words: what is compared.
    """

    name: str
    correlation: float
    overlap: float | None
    words: str


def assurances(night: Night, duplicates: Duplicates | None = None) -> list[Assurance]:
    """What the store knows of a night's own errors, and whether its queries are new."""
    leaks = [] if duplicates is None else [_leaks(night, duplicates)]
    return [*_recall(night), *_solves(night), *_rest(night), *leaks]


def above(low: float, high: float, limit: float) -> bool | None:
    """Whether a share is at least `limit` by its interval; None where that cannot be told.

    >>> above(0.97, 1.0, 0.95), above(0.58, 1.0, 0.95), above(0.3, 0.6, 0.95)
    (True, None, False)
    """
    return True if low >= limit else False if high < limit else None


def _leaks(night: Night, duplicates: Duplicates) -> Assurance:
    share = duplicates.leaked / max(1, len(night.queries))
    return Assurance(
        "queries that are no training rows",
        f"{len(night.queries) - duplicates.leaked:,} of {len(night.queries):,}",
        "The accuracy on queries that the model was trained on says nothing about new data; they "
        "stand under quality.",
        True if not duplicates.leaked else False if share >= LEAKED else None,
    )


def _recall(night: Night) -> Iterator[Assurance]:
    told = [one for one in night.summary.recall if not one.get("method")]
    overall = [one for one in told if one.get("label") is None and one.get("slice") is None]
    root = night.summary.root
    of = f" in {root}, which this run goes on with, and not measured again" if root else ""
    for one in overall:
        fine = above(float(str(one["low"])), float(str(one["high"])), RECALL)
        yield Assurance(
            f"recall at {one['at']}",
            f"{one['share']:.2f} ({one['low']:.2f} - {one['high']:.2f})",
            f"Of the {one['at']} training rows that matter most to a query, this share was among "
            f"those that were scored; measured on {one['queries']} queries scanned in full{of}, "
            f"with a 95 % interval. It should be {RECALL} or more.",
            fine,
            unsure=fine is None,
        )
    if not overall:
        yield Assurance(
            "recall",
            "all" if _is_full(night) else "not measured",
            "Every training row was scored for every query, so none can be missed."
            if _is_full(night)
            else "Nobody knows what the candidates miss. Set [candidates] check.",
            True if _is_full(night) else None,
            unsure=not _is_full(night),
        )


def _is_full(night: Night) -> bool:
    """By the kind that the study names, the method that was chosen, or where no k was enough."""
    known = json.loads(str(night.summary.facts["candidates"]))
    method = known.get("method") or {}
    offers = {offer["name"]: offer["candidates"]["kind"] for offer in method.get("offers", ())}
    fallen_back = "chosen" in known and known["chosen"].get("k") is None
    return "full" in (known["kind"], offers.get(method.get("name"))) or fallen_back


def _solves(night: Night) -> Iterator[Assurance]:
    trust = night.summary.trust
    if trust["worst_residual"] is not None:
        worst = float(str(trust["worst_residual"]))
        yield Assurance(
            "residual",
            f"{worst:.1e} at most",
            "What is left of the equation that every query's answer solves. 0 is exact; 1 would be "
            "no answer at all.",
            worst <= RESIDUAL and not trust["unconverged"],
        )
    yield Assurance(
        "damping",
        f"{float(str(trust['damping'])):g}",
        "How strongly directions that the model hardly knows are held back. Too large, and "
        "influence becomes a plain product of gradients.",
    )
    if trust["correlation"] is not None:
        resembling, answered = int(str(trust["resembling"])), int(str(trust["answered"]))
        yield Assurance(
            "gradient product",
            f"{float(str(trust['correlation'])):.2f}; {resembling} of {answered} resemble it",
            "Correlation of the effects with what would come out without curvature. Near 1 the "
            "curvature changed nothing.",
            2 * resembling <= answered,
        )
    if trust["agreement"] is not None:
        yield Assurance(
            "several trainings",
            f"{float(str(trust['agreement'])):.2f}",
            "Rank correlation of the effects by models that were trained from other seeds: how "
            "much of a score is the data's and not the seed's.",
        )
    if trust["held"] is not None:
        yield Assurance(
            "mass of effects",
            f"{float(str(trust['held'])):.0%}",
            "Share of the size of all effects that the scored rows hold, estimated from random "
            "ones. The rest is many small effects.",
        )


def _rest(night: Night) -> Iterator[Assurance]:
    lost = len(night.summary.quarantined)
    yield Assurance(
        "queries without an answer",
        f"{lost} of {len(night.queries)}",
        "Set aside because their loss or their solution is not finite; the others are not touched.",
        lost == 0,
    )
    if night.found is not None:
        yield from _injected(night.found.facts["recall"])


def _injected(recall: Row) -> Iterator[Assurance]:
    """Injected label flips: of either kind about half, so each share has so wide an interval."""
    shares = {name: recall[name] for name in ("any", "confusable") if _is_share(recall[name])}
    if not shares:
        words = (
            "No labels were flipped in copies of the data, so nobody knows what the order misses."
        )
        yield Assurance("canaries", "not measured", words, unsure=True)
        return
    share, count = shares.get("any", 0.0), max(1, int(recall["planted"]) // 2)
    interval = binomtest(round(share * count), count).proportion_ci(method="wilson")
    fine = above(interval.low, interval.high, CANARIES) if "any" in shares else None
    yield Assurance(
        "canaries",
        " and ".join(f"{value:.0%}" for value in shares.values()),
        f"{recall['planted']} labels were flipped in copies of the data on purpose, half to any "
        f"label and half to a likely one: such shares of the two came up in the first "
        f"{recall['budget']} suspects. Of the former it should be half.",
        fine,
        unsure=fine is None,
    )


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def baselines(night: Night, space: Space) -> list[Baseline]:
    """How far simpler measures say the same."""
    found = list(_similar(night, space))
    loss = night.train["loss"].to_numpy().astype(float)
    harm = -night.harm["harm"].to_numpy()
    known = np.isfinite(loss)
    if known.sum() > TOP and harm[known].std() > 0 and loss[known].std() > 0:
        rank = _rank(loss[known], harm[known])
        top = set(np.argsort(-harm, kind="stable")[:100])
        told = set(np.argsort(-np.where(known, loss, -math.inf), kind="stable")[:100])
        words = "The training row's own loss, against the harm it does to all queries; overlap "
        found.append(
            Baseline("loss", rank, len(top & told) / len(top), f"{words}of the first 100.")
        )
    return found


def _similar(night: Night, space: Space) -> Iterator[Baseline]:
    """Cosine of the words of query and training row, against the size of the effect."""
    queries = night.scores["query"].unique().sort().to_list()
    chosen = queries[:: max(1, len(queries) // ASKED)][:ASKED]
    told = night.scores.filter(pl.col("query").is_in(chosen))
    ranks, shares = [], []
    for (query,), rows in told.group_by("query", maintain_order=True):
        train = torch.tensor(rows["train"].to_list())
        effect = np.abs(rows["removal_effect"].to_numpy())
        likeness = (space.train[train] @ space.queries[int(str(query))]).numpy()
        if len(train) > TOP and effect.std() > 0 and likeness.std() > 0:
            ranks.append(_rank(effect, likeness))
            best, near = (set(np.argsort(-v, kind="stable")[:TOP]) for v in (effect, likeness))
            shares.append(len(best & near) / TOP)
    if ranks:
        words = f"Words in common with the query, among its scored rows; mean of {len(ranks)} "
        yield Baseline(
            "similar words", float(np.mean(ranks)), float(np.mean(shares)),
            f"{words}queries, overlap of the first ten.",
        )  # fmt: skip


def _rank(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a, b)[0])  # type: ignore[arg-type]


def costs(night: Night) -> list[Row]:
    """Stage by stage: seconds that were forecast and taken."""
    outcome = night.summary.outcome
    if outcome is None:
        return []
    return [
        {"stage": stage, "forecast": said, "measured": took}
        for stage, (said, took) in outcome.seconds.items()
        if said or took
    ]
