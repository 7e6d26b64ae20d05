"""Checks of a run's reliability, and baselines, with explanations for readers of the report."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from scipy.stats import binomtest, spearmanr

from storage.ranking import RANKING
from tasks.mislabels.reachable_recall import ReachableRecall, read_reachable_recall
from tasks.report.duplicates import Duplicates
from tasks.report.formatting import Row
from tasks.report.report_rows import ReportRows
from tasks.report.run_data import RunData
from tasks.report.tfidf_space import TfidfSpace
from tasks.report.undecided_checks import explain_curvature, explain_flips, explain_recall
from tasks.results.candidate_recall import is_full_scan
from tasks.results.diagnostics import MAX_LEAKED_SHARE
from tasks.results.evidence import EVIDENCE, EvidenceRow
from tasks.results.tree_evidence import read_tree_evidence
from tasks.run.agreement import MIN_AGREEMENT

MIN_RECALL, MIN_FLIP_RECALL = 0.95, 0.5
MAX_QUERIES, TOP_K = 200, 10


@dataclass(frozen=True)
class ReliabilityCheck:
    """Result of one check.

    Attributes:
        name: Name of the check.
        measured: Measured value, formatted.
        meaning: Explanation for the reader.
        passed: Whether the check passes; None if undecided.
        undecided: Reason why the check decides nothing, and what would decide it; empty for a check
            that is decided or has no limit.
    """

    name: str
    measured: str
    meaning: str
    passed: bool | None = None
    undecided: str = ""

    @property
    def verdict(self) -> str:
        """Result in one or two words: passed, failed, inconclusive or no limit."""
        unknown = "inconclusive" if self.undecided else "no limit"
        return {None: unknown, True: "passed", False: "failed"}[self.passed]


@dataclass(frozen=True)
class Baseline:
    """Agreement of a simpler measure with influence.

    Attributes:
        name: Name of the measure.
        correlation: Rank correlation with influence (Spearman).
        overlap: Share of the largest effects that the measure ranks first too; None if undefined.
        description: Description of what is compared.
    """

    name: str
    correlation: float
    overlap: float | None
    description: str


def check_reliability(
    data: RunData, duplicates: Duplicates | None = None
) -> list[ReliabilityCheck]:
    """Check recall, linear solves, injected label flips, quarantined queries and leaks of a run."""
    leaks = [] if duplicates is None else [_check_leaks(data, duplicates)]
    return [
        *_check_recall(data),
        *_check_curvature(data),
        *check_trees(data.summary.facts),
        *check_solves(data.summary.diagnostics),
        *_check_mislabels_and_quarantine(data),
        *leaks,
    ]


def check_label_reliability(
    data: ReportRows, facts: Row, duplicates: Duplicates
) -> list[ReliabilityCheck]:
    """Check injected label flips, and leaks where there are queries, without an audit.

    Args:
        data: Rows of the report.
        facts: Summary of the detection.
        duplicates: Duplicates and leaks.
    """
    has_leaks = len(data.queries)
    leaks = [_check_leaks(data, duplicates)] if has_leaks else []
    return [*_check_injected_flips(read_reachable_recall(facts)), *leaks]


def is_above(low: float, high: float, limit: float) -> bool | None:
    """Whether a share is at least `limit` by its confidence interval; None if inconclusive.

    >>> is_above(0.97, 1.0, 0.95), is_above(0.58, 1.0, 0.95), is_above(0.3, 0.6, 0.95)
    (True, None, False)
    """
    return True if low >= limit else False if high < limit else None


def _check_leaks(data: ReportRows, duplicates: Duplicates) -> ReliabilityCheck:
    share = duplicates.leaked / max(1, len(data.queries))
    return ReliabilityCheck(
        "query leakage",
        f"{duplicates.leaked:,} of {len(data.queries):,} leaked",
        "Leaked queries are duplicates of training rows: accuracy on them is no evidence for new "
        "data. They are listed under Data quality.",
        True if not duplicates.leaked else False if share >= MAX_LEAKED_SHARE else None,
    )


def _check_recall(data: RunData) -> Iterator[ReliabilityCheck]:
    entries = [entry for entry in data.summary.recall if not entry.get("method")]
    overall = [
        entry for entry in entries if entry.get("label") is None and entry.get("slice") is None
    ]
    root_run = data.summary.root_run
    origin = f" in run {root_run}, which this run continues, not measured again" if root_run else ""
    for entry in overall:
        passed = is_above(float(str(entry["low"])), float(str(entry["high"])), MIN_RECALL)
        reason = explain_recall(int(str(entry["queries"])), len(data.queries), MIN_RECALL)
        yield ReliabilityCheck(
            f"recall at {entry['at']}",
            f"{entry['share']:.2f} ({entry['low']:.2f} - {entry['high']:.2f})",
            f"Share of the {entry['at']} most influential training rows of a query that are among "
            f"its candidates, measured by a full scan of {entry['queries']} queries{origin}, with "
            f"a 95 % confidence interval. It should be {MIN_RECALL} or more.",
            passed,
            reason if passed is None else "",
        )
    if not overall and is_full_scan(data.summary.facts):
        meaning = "Every training row was scored for every query, so none can be missed."
        yield ReliabilityCheck("recall", "all", meaning, True)
    elif not overall:
        meaning = "Share of the most influential training rows that are among the candidates."
        reason = explain_recall(0, len(data.queries), MIN_RECALL)
        yield ReliabilityCheck("recall", "not measured", meaning, undecided=reason)


def _check_curvature(data: RunData) -> Iterator[ReliabilityCheck]:
    """Check the agreement of a sample of curvature rows; nothing for a curvature of all rows."""
    agreement = data.summary.agreement
    if agreement is None:
        return
    name, reason = "curvature sample", explain_curvature(agreement)
    if agreement.measured is None:
        meaning = "Agreement of effects by a sample of rows with those by all rows."
        yield ReliabilityCheck(name, "not measured", meaning, undecided=reason)
        return
    point = agreement.measured.in_use
    passed = is_above(point.low, point.high, MIN_AGREEMENT)
    measured = f"{point.pearson:.2f} ({point.low:.2f} - {point.high:.2f})"
    meaning = f"Agreement of effects by a sample of rows {agreement}."
    yield ReliabilityCheck(name, measured, meaning, passed, reason if passed is None else "")


def check_solves(
    diagnostics: Row, evidence: Sequence[EvidenceRow] = EVIDENCE
) -> Iterator[ReliabilityCheck]:
    """Yield the checks of the certificates over all queries; unknown numbers are skipped."""
    for row in evidence:
        if row.check and row.is_known(diagnostics):
            check = row.check
            yield ReliabilityCheck(
                check.name or row.label,
                check.measured(diagnostics),
                check.meaning,
                check.passed(diagnostics) if check.passed else None,
            )


def check_trees(facts: Row) -> Iterator[ReliabilityCheck]:
    """Check that leaf values follow from the training rows; nothing for other models."""
    evidence = read_tree_evidence(facts)
    if evidence is not None:
        meaning = (
            "Leaf values of the file, against those that the training rows give. Effects are of "
            "fitting all leaf values again; that other rows may give other splits is not seen."
        )
        passed = None if evidence.deviation is None else True
        yield ReliabilityCheck("leaf values repeated", evidence.repeated, meaning, passed)


def _check_mislabels_and_quarantine(data: RunData) -> Iterator[ReliabilityCheck]:
    quarantined = len(data.summary.quarantined)
    yield ReliabilityCheck(
        "queries without scores",
        f"{quarantined} of {len(data.queries)}",
        "Quarantined, since their loss or solution is not finite. Other queries are unaffected.",
        quarantined == 0,
    )
    if data.mislabels is not None:
        yield from _check_injected_flips(read_reachable_recall(data.mislabels.facts))


def _check_injected_flips(recall: ReachableRecall | None) -> Iterator[ReliabilityCheck]:
    """Check the recall of injected label flips, of those that the first rows can hold."""
    name = "injected label flips"
    if recall is None or not recall.recall:
        meaning = "Share of labels flipped in copies of the data that are among the first rows."
        yield ReliabilityCheck(name, "not measured", meaning, undecided=explain_flips(0))
        return
    count = max(1, round(recall.reachable * (recall.flips // 2)))  # half of them are uniform
    share = recall.of_reachable.get("any", 0.0)
    interval = binomtest(round(share * count), count).proportion_ci(method="wilson")
    passed = None
    if "any" in recall.recall:
        passed = is_above(interval.low, interval.high, MIN_FLIP_RECALL)
    yield ReliabilityCheck(
        name,
        " and ".join(share for share in recall.shares if share != "none"),
        f"{recall.flips:,} labels were flipped in copies of the data, half to a random label "
        "and half to a label that is easily confused. The shares of the two that are among the "
        f"first {recall.inspected:,} flagged rows are given, of the {recall.reachable:.0%} that "
        "these rows can hold. The first should be at least half.",
        passed,
        explain_flips(count) if passed is None else "",
    )


def compare_baselines(data: RunData, space: TfidfSpace) -> list[Baseline]:
    """Compare influence with text similarity and with the training row's own loss."""
    results = list(_compare_text_similarity(data, space))
    loss = data.train["loss"].to_numpy().astype(float)
    harm = data.harm["harm"].to_numpy()
    is_finite = np.isfinite(loss)
    if is_finite.sum() > TOP_K and harm[is_finite].std() > 0 and loss[is_finite].std() > 0:
        rank = _rank_correlation(loss[is_finite], harm[is_finite])
        most_harmful = _find_largest(harm, 100)
        largest_losses = _find_largest(np.where(is_finite, loss, -math.inf), 100)
        description = "Loss of the training row against its harm to all queries; overlap of "
        results.append(
            Baseline(
                "loss",
                rank,
                len(most_harmful & largest_losses) / len(most_harmful),
                f"{description}the first 100.",
            )
        )
    return results


def _compare_text_similarity(data: RunData, space: TfidfSpace) -> Iterator[Baseline]:
    """Compare the cosine similarity of tf-idf vectors, or pixels, with the absolute scores."""
    queries = data.scores["query"].unique().sort().to_list()
    sampled_queries = queries[:: max(1, len(queries) // MAX_QUERIES)][:MAX_QUERIES]
    scores = data.scores.filter(pl.col("query").is_in(sampled_queries))
    ranks, shares = [], []
    for (query,), rows in scores.group_by("query", maintain_order=True):
        train = torch.tensor(rows["train"].to_list())
        effect = np.abs(rows.select(RANKING).to_series().to_numpy())
        likeness = (space.train[train] @ space.queries[int(str(query))]).numpy()
        if len(train) > TOP_K and effect.std() > 0 and likeness.std() > 0:
            ranks.append(_rank_correlation(effect, likeness))
            most_influential, most_similar = (
                _find_largest(values, TOP_K) for values in (effect, likeness)
            )
            shares.append(len(most_influential & most_similar) / TOP_K)
    if ranks:
        description = "Cosine similarity to the query, over its scored rows; mean of "
        name = "tf-idf similarity" if data.has_texts else "similarity of pixels"
        yield Baseline(
            name, float(np.mean(ranks)), float(np.mean(shares)),
            f"{description}{len(ranks)} queries, overlap of the first ten.",
        )  # fmt: skip


def _find_largest(values: np.ndarray, k: int) -> set[int]:
    """Positions of the `k` largest values; ties go to the earlier one."""
    return set(np.argsort(-values, kind="stable")[:k].tolist())


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a, b)[0])  # type: ignore[arg-type]


def list_stage_seconds(data: RunData) -> list[Row]:
    """List the forecast and measured seconds of each stage."""
    outcome = data.summary.outcome
    if outcome is None:
        return []
    return [
        {"stage": stage, "forecast": forecast, "measured": measured}
        for stage, (forecast, measured) in outcome.seconds.items()
        if forecast or measured
    ]
