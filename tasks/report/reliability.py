"""How far the numbers of a night may be trusted, in words for people who did not make them."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from scipy.stats import binomtest, spearmanr

from tasks.report.duplicates import Duplicates
from tasks.report.formatting import Row
from tasks.report.run_data import RunData
from tasks.report.tfidf_space import TfidfSpace
from tasks.results.diagnostics import MAX_LEAKED_SHARE
from tasks.results.evidence import EVIDENCE, EvidenceRow

MIN_RECALL, MIN_FLIP_RECALL = 0.95, 0.5
MAX_QUERIES, TOP_K = 200, 10


@dataclass(frozen=True)
class ReliabilityCheck:
    """One thing that was measured.

    Attributes:
        name: of it.
        measured: as measured.
        meaning: what it means.
        passed: whether it is as it should be; None where nobody can say.
        inconclusive: that is because too little was measured, and not because there is no limit.
    """

    name: str
    measured: str
    meaning: str
    passed: bool | None = None
    inconclusive: bool = False

    @property
    def verdict(self) -> str:
        """Whether it is in order, in a word or two."""
        unknown = "not enough to tell" if self.inconclusive else "no limit"
        return {None: unknown, True: "yes", False: "no"}[self.passed]


@dataclass(frozen=True)
class Baseline:
    """Something simpler that could have been looked at instead.

    Attributes:
        name: of it.
        correlation: rank correlation with influence.
        overlap: share of the ten largest effects that it finds too; None where there is no such.
        description: what is compared.
    """

    name: str
    correlation: float
    overlap: float | None
    description: str


def check_reliability(
    data: RunData, duplicates: Duplicates | None = None
) -> list[ReliabilityCheck]:
    """What the store knows of a night's own errors, and whether its queries are new."""
    leaks = [] if duplicates is None else [_check_leaks(data, duplicates)]
    return [
        *_check_recall(data),
        *check_solves(data.summary.diagnostics),
        *_check_mislabels_and_quarantine(data),
        *leaks,
    ]


def is_above(low: float, high: float, limit: float) -> bool | None:
    """Whether a share is at least `limit` by its interval; None where that cannot be told.

    >>> is_above(0.97, 1.0, 0.95), is_above(0.58, 1.0, 0.95), is_above(0.3, 0.6, 0.95)
    (True, None, False)
    """
    return True if low >= limit else False if high < limit else None


def _check_leaks(data: RunData, duplicates: Duplicates) -> ReliabilityCheck:
    share = duplicates.leaked / max(1, len(data.queries))
    return ReliabilityCheck(
        "queries that are no training rows",
        f"{len(data.queries) - duplicates.leaked:,} of {len(data.queries):,}",
        "The accuracy on queries that the model was trained on says nothing about new data; they "
        "stand under quality.",
        True if not duplicates.leaked else False if share >= MAX_LEAKED_SHARE else None,
    )


def _check_recall(data: RunData) -> Iterator[ReliabilityCheck]:
    entries = [entry for entry in data.summary.recall if not entry.get("method")]
    overall = [
        entry for entry in entries if entry.get("label") is None and entry.get("slice") is None
    ]
    root_run = data.summary.root_run
    origin = (
        f" in {root_run}, which this run goes on with, and not measured again" if root_run else ""
    )
    for entry in overall:
        passed = is_above(float(str(entry["low"])), float(str(entry["high"])), MIN_RECALL)
        yield ReliabilityCheck(
            f"recall at {entry['at']}",
            f"{entry['share']:.2f} ({entry['low']:.2f} - {entry['high']:.2f})",
            f"Of the {entry['at']} training rows that matter most to a query, this share was among "
            f"those that were scored; measured on {entry['queries']} queries scanned in "
            f"full{origin}, "
            f"with a 95 % interval. It should be {MIN_RECALL} or more.",
            passed,
            inconclusive=passed is None,
        )
    if not overall:
        yield ReliabilityCheck(
            "recall",
            "all" if _is_full_scan(data) else "not measured",
            "Every training row was scored for every query, so none can be missed."
            if _is_full_scan(data)
            else "Nobody knows what the candidates miss. Set [candidates] check.",
            True if _is_full_scan(data) else None,
            inconclusive=not _is_full_scan(data),
        )


def _is_full_scan(data: RunData) -> bool:
    """By the kind that the study names, the method that was chosen, or where no k was enough."""
    candidates = json.loads(str(data.summary.facts["candidates"]))
    method = candidates.get("method") or {}
    offers = {offer["name"]: offer["candidates"]["kind"] for offer in method.get("offers", ())}
    is_fallback = "chosen" in candidates and candidates["chosen"].get("k") is None
    return "full" in (candidates["kind"], offers.get(method.get("name"))) or is_fallback


def check_solves(
    diagnostics: Row, evidence: Sequence[EvidenceRow] = EVIDENCE
) -> Iterator[ReliabilityCheck]:
    """What the certificates of all queries say, number by number; none for what is not known."""
    for row in evidence:
        if row.check and row.is_known(diagnostics):
            check = row.check
            yield ReliabilityCheck(
                check.name or row.label,
                check.measured(diagnostics),
                check.meaning,
                check.passed(diagnostics) if check.passed else None,
            )


def _check_mislabels_and_quarantine(data: RunData) -> Iterator[ReliabilityCheck]:
    quarantined = len(data.summary.quarantined)
    yield ReliabilityCheck(
        "queries without an answer",
        f"{quarantined} of {len(data.queries)}",
        "Set aside because their loss or their solution is not finite; the others are not touched.",
        quarantined == 0,
    )
    if data.mislabels is not None:
        yield from _check_injected_flips(data.mislabels.facts["recall"])


def _check_injected_flips(recall: Row) -> Iterator[ReliabilityCheck]:
    """Injected label flips: of either kind about half, so each share has so wide an interval."""
    shares = {
        name: recall[name] for name in ("any", "confusable") if _is_finite_number(recall[name])
    }
    if not shares:
        meaning = (
            "No labels were flipped in copies of the data, so nobody knows what the order misses."
        )
        yield ReliabilityCheck("canaries", "not measured", meaning, inconclusive=True)
        return
    share, count = shares.get("any", 0.0), max(1, int(recall["planted"]) // 2)
    interval = binomtest(round(share * count), count).proportion_ci(method="wilson")
    passed = is_above(interval.low, interval.high, MIN_FLIP_RECALL) if "any" in shares else None
    yield ReliabilityCheck(
        "canaries",
        " and ".join(f"{value:.0%}" for value in shares.values()),
        f"{recall['planted']} labels were flipped in copies of the data on purpose, half to any "
        f"label and half to a likely one: such shares of the two came up in the first "
        f"{recall['budget']} suspects. Of the former it should be half.",
        passed,
        inconclusive=passed is None,
    )


def _is_finite_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def compare_baselines(data: RunData, space: TfidfSpace) -> list[Baseline]:
    """How far simpler measures say the same."""
    results = list(_compare_text_similarity(data, space))
    loss = data.train["loss"].to_numpy().astype(float)
    harm = data.harm["harm"].to_numpy()
    is_finite = np.isfinite(loss)
    if is_finite.sum() > TOP_K and harm[is_finite].std() > 0 and loss[is_finite].std() > 0:
        rank = _rank_correlation(loss[is_finite], harm[is_finite])
        most_harmful = _find_largest(harm, 100)
        largest_losses = _find_largest(np.where(is_finite, loss, -math.inf), 100)
        description = (
            "The training row's own loss, against the harm it does to all queries; overlap "
        )
        results.append(
            Baseline(
                "loss",
                rank,
                len(most_harmful & largest_losses) / len(most_harmful),
                f"{description}of the first 100.",
            )
        )
    return results


def _compare_text_similarity(data: RunData, space: TfidfSpace) -> Iterator[Baseline]:
    """Cosine of the words of query and training row, against the size of the effect."""
    queries = data.scores["query"].unique().sort().to_list()
    sampled_queries = queries[:: max(1, len(queries) // MAX_QUERIES)][:MAX_QUERIES]
    scores = data.scores.filter(pl.col("query").is_in(sampled_queries))
    ranks, shares = [], []
    for (query,), rows in scores.group_by("query", maintain_order=True):
        train = torch.tensor(rows["train"].to_list())
        effect = np.abs(rows["removal_effect"].to_numpy())
        likeness = (space.train[train] @ space.queries[int(str(query))]).numpy()
        if len(train) > TOP_K and effect.std() > 0 and likeness.std() > 0:
            ranks.append(_rank_correlation(effect, likeness))
            most_influential, most_similar = (
                _find_largest(values, TOP_K) for values in (effect, likeness)
            )
            shares.append(len(most_influential & most_similar) / TOP_K)
    if ranks:
        description = (
            f"Words in common with the query, among its scored rows; mean of {len(ranks)} "
        )
        yield Baseline(
            "similar words", float(np.mean(ranks)), float(np.mean(shares)),
            f"{description}queries, overlap of the first ten.",
        )  # fmt: skip


def _find_largest(values: np.ndarray, k: int) -> set[int]:
    """Places of the `k` largest; of equal ones the earlier."""
    return set(np.argsort(-values, kind="stable")[:k].tolist())


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a, b)[0])  # type: ignore[arg-type]


def list_stage_seconds(data: RunData) -> list[Row]:
    """Stage by stage: seconds that were forecast and taken."""
    outcome = data.summary.outcome
    if outcome is None:
        return []
    return [
        {"stage": stage, "forecast": forecast, "measured": measured}
        for stage, (forecast, measured) in outcome.seconds.items()
        if forecast or measured
    ]
