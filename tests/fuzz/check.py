"""Compare the tables that a run stored with the dense truth."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
import torch

from tests.fuzz.case import Case
from tests.fuzz.expected import Expected, compare_scores, find_nearest, has_leverage
from tests.fuzz.losses import confidence, plain_loss, predict
from tests.fuzz.stored import Stored
from tests.fuzz.tables import Rows
from tests.fuzz.targets import describe
from tests.fuzz.totals import find_wrong_totals
from tests.fuzz.truth import Truth

EXACT = 1e-4
"""Largest error of an effect, as a share of the largest effect: single precision."""
ROUNDED = {"spectral": 2e-3, "sketch": 1e-2}
"""The same where more is rounded: eigenvectors of nearly equal eigenvalues, and scores by sketches,
a count sketch of 16,384 numbers of 16 bits (the study has chosen them explicitly)."""
CARRIED = 5e-2
"""Tolerance of sketches in the basis of the parent run's curvature, which lacks newer rows; the run
has to report that its evidence is that of the parent run."""
AGREEING = 0.99
"""Correlation with exact scores below which a run has to warn of its sketches."""
INDEFINITE = r"indefinite|positive definite|negative eigenvalue|least eigenvalue"


@dataclass(frozen=True)
class Finding:
    """Result of the comparison of a run.

    Attributes:
        state: One of exact, bounded, reported, WRONG.
        error: Largest error of an effect as a share of the largest effect.
        words: Fault, or the message of the run itself.
    """

    state: str
    error: float
    words: str = ""


def check(
    case: Case, truth: Truth, actual: Stored, tables: dict[str, Rows], output: str
) -> Finding:
    """Compare every table of a run.

    Args:
        case: Sampled study.
        truth: Dense reference of the run.
        actual: Stored tables of the run.
        tables: Rows of its input tables.
        output: Text that the command printed.
    """
    expected = find_nearest(case, truth, actual)
    largest = float(expected.mean.abs().max())
    cells = compare_scores(actual, expected)
    error = float(cells["error"].max() or 0.0) / largest if len(cells) else 0.0
    effects = list(_wrong_effects(case, cells, largest))
    problems = [
        *_wrong_tables(case, truth, actual, tables),
        *_wrong_choice(case, actual, expected, largest, error <= EXACT),
        *(find_wrong_totals(case, actual, expected, largest, EXACT) if error <= EXACT else ()),
        *_wrong_claims(case, truth, actual, expected, output),
    ]
    agreement = _measured_agreement(case, actual)
    if agreement < AGREEING and error > _tolerance(case):
        return Finding(
            "reported", error, f"scores by sketches correlate {agreement:.2f} with exact ones"
        )
    if _reuses_recall(case, output) and not problems and _tolerance(case) < error <= CARRIED:
        return Finding("reported", error, "evidence of the parent run, whose basis is reused")
    if effects or problems:
        return Finding("WRONG", error, "; ".join([*effects, *problems]))
    reasons = actual.solves["reason"].drop_nulls()
    if len(reasons):
        return Finding("reported", error, f"{len(reasons)} queries quarantined: {reasons[0]}")
    if error <= _tolerance(case):
        return Finding("exact", error)
    silent = cells.filter((pl.col("error") > _tolerance(case) * largest) & pl.col("converged"))
    return Finding("bounded", error) if len(silent) else Finding("reported", error, "not converged")


def _measured_agreement(case: Case, actual: Stored) -> float:
    """Correlation of scores by sketches with exact ones, as the run measured and printed it."""
    if not case.by_sketches or actual.runs.is_empty() or actual.runs["recall"][0] is None:
        return 1.0
    parts = json.loads(actual.runs["recall"][0])
    return min((p["agreement"] for p in parts if p["agreement"] is not None), default=1.0)


def _reuses_recall(case: Case, output: str) -> bool:
    """Whether scores come from the parent run's sketches, and the recall is reported as such."""
    return case.by_sketches and "not measured again" in " ".join(output.replace("│", " ").split())


def _tolerance(case: Case) -> float:
    if case.by_sketches:
        return ROUNDED["sketch"]
    return ROUNDED.get(str(case.solver["kind"]), EXACT)


def _wrong_effects(case: Case, cells: pl.DataFrame, largest: float) -> Iterator[str]:
    """Effects beyond rounding that the residual does not allow, or that are called converged."""
    if cells.is_empty():
        return
    far = cells.filter(pl.col("error") > _tolerance(case) * largest)
    iterative = case.solver["kind"] in ("cg", "lissa", "dual") and not case.by_sketches
    if iterative:
        beyond = pl.col("error") > pl.col("allowed").fill_nan(0) + EXACT * largest
        far = far.filter(beyond | pl.col("allowed").is_null())
    if len(far):
        worst = far.sort("error").row(-1, named=True)
        yield (
            f"{len(far)} effects beyond what is claimed: query {worst['query']}, row "
            f"{worst['train']}: {worst['removal_effect']:.4g} is {worst['true']:.4g}, "
            f"converged={worst['converged']}, residual={worst['residual']}"
        )


def _wrong_tables(
    case: Case, truth: Truth, actual: Stored, tables: dict[str, Rows]
) -> Iterator[str]:
    """Losses, predictions, labels, ids and cuts, each in its place."""
    for name, reads in (("train", truth.train), ("queries", truth.queries)):
        key = "query" if name == "queries" else "train"
        frame, rows, read = getattr(actual, name).sort(key), tables[name], reads[0]
        if frame[key].to_list() != list(range(len(rows))):
            yield f"table {name} has not each row once"
            continue
        named = not (case.night and case.night.ids == "row numbers")
        if named and frame["id"].to_list() != [row["id"] for row in rows]:
            yield f"ids of {name}"
        texts = [describe(case.target, case.labels, r["label"], r.get("focus")) for r in rows]
        if frame["label"].to_list() != texts:
            yield f"labels of {name}"
        if name == "queries":
            yield from _wrong_measures(truth, frame)
            known = [place for place, row in enumerate(rows) if row["label"] is not None]
            if frame.filter(pl.col("label").is_null())["loss"].drop_nulls().len():
                yield "a loss without a label"
            frame_loss, losses_of = frame["loss"].gather(known), torch.tensor(known).long()
        else:
            frame_loss, losses_of = frame["loss"], torch.arange(len(rows))
        plain = plain_loss(truth.loss)
        targets = torch.cat([torch.ones(len(rows), 1), read.targets[:, 1:]], 1)
        pairs = zip(read.outputs, targets, strict=True)
        losses = torch.stack([plain(*pair) for pair in pairs])[losses_of]
        given = torch.tensor(frame_loss.to_list(), dtype=torch.float64)
        gap = (given - losses).abs() / (1 + losses)
        if not bool((gap <= 1e-4).all()):
            place = int(gap.nan_to_num(torch.inf).argmax())
            yield f"loss of {name} {place}: {given[place]:.4g} is {losses[place]:.4g}"
        if frame["truncated"].to_list() != read.truncated:
            yield f"cuts of {name}"
        yield from _wrong_predictions(case, rows, read.outputs, frame, name)


def _wrong_predictions(
    case: Case, rows: Rows, outputs: torch.Tensor, frame: pl.DataFrame, name: str
) -> Iterator[str]:
    """Predicted targets, and whether they are the given ones."""
    target, labels = case.target, case.labels
    for place, (row, values) in enumerate(zip(rows, outputs, strict=True)):
        if confidence(target, values) <= 1e-3:
            continue
        predicted, focus, given = predict(target, labels, values), row.get("focus"), row["label"]
        stored = frame["prediction"][place]
        if _unlike(stored, describe(target, labels, predicted, focus)):
            yield f"prediction of {name} {place}: {stored}"
            return
        is_right = given == predicted
        if focus is not None and given is not None:
            is_right = given[focus] == predicted[focus]
        if target.kind == "soft-label" and given is not None:
            is_right = given.index(max(given)) == predicted.index(max(predicted))
        expected = None if given is None or target.kind == "number" else is_right
        if "correct" in frame.columns and frame["correct"][place] != expected:
            yield f"{name} {place} is correct: {frame['correct'][place]}"
            return


def _unlike(stored: str, expected: str | None) -> bool:
    """Whether texts differ in more than the last digits of their numbers."""
    if stored == expected:
        return False
    number = r"-?\d+\.?\d*(?:e-?\d+)?"
    pairs = zip(re.findall(number, stored), re.findall(number, expected or ""), strict=False)
    near = all(abs(float(a) - float(b)) <= 1e-3 * (1 + abs(float(b))) for a, b in pairs)
    return not near or re.sub(number, "0", stored) != re.sub(number, "0", expected or "")


def _wrong_measures(truth: Truth, frame: pl.DataFrame) -> Iterator[str]:
    """The name and the value of each query's measure."""
    if frame["measure"].to_list() != [measure.name for measure in truth.measured]:
        yield "measures of queries"
        return
    true = torch.tensor(truth.measure_values(), dtype=torch.float64)
    given = torch.tensor(frame["measure_value"].to_list(), dtype=torch.float64)
    gap = (given - true).abs() / (1 + true.abs())
    if not bool((gap <= 1e-4).all()):
        place = int(gap.nan_to_num(torch.inf).argmax())
        yield f"measure of query {place}: {given[place]:.4g} is {true[place]:.4g}"


def _wrong_choice(
    case: Case, actual: Stored, expected: Expected, largest: float, exact: bool
) -> Iterator[str]:
    """Which rows were kept of each query, and in which order."""
    kind, (queries, count) = case.candidates["kind"], expected.mean.shape
    well = actual.solves.filter(pl.col("reason").is_null())["query"].to_list()
    if sorted(actual.solves["query"].to_list()) != list(range(queries)):
        yield "table solves has not each query once"
    rows = actual.scores.sort("query", "rank")
    ordered = rows.group_by("query").agg(
        falls=(pl.col("removal_effect").diff() < 0).any(),
        ranks=(pl.col("rank") == pl.int_range(pl.len())).all(),
        unique=pl.col("train").n_unique() == pl.len(),
        count=pl.len(),
    )
    if not (ordered["ranks"].all() and ordered["unique"].all()) or ordered["falls"].any():
        yield "ranks are not those of the effects"
    if actual.carried:
        return
    least = 2 * case.candidates["keep"] if kind == "full" else _find_searched(case)
    short = ordered.filter(pl.col("count") < min(least, count))
    if len(ordered) < len(well) or len(short):
        yield f"{len(short)} queries hold fewer rows than was set"
    if kind == "full" and least < count and exact:
        yield from _wrong_top_bottom(rows, expected, case.candidates["keep"], largest)


def _find_searched(case: Case) -> int:
    methods = case.candidates.get("of", [case.candidates])
    return max(method["k"] for method in methods)


def _wrong_top_bottom(
    rows: pl.DataFrame, expected: Expected, keep: int, largest: float
) -> Iterator[str]:
    """A full scan keeps the most harmful and the most helpful rows of all."""
    for (query,), kept in rows.group_by("query"):
        values = torch.tensor(kept["removal_effect"].to_list(), dtype=torch.float64).sort().values
        true = expected.mean[query].sort().values
        ends = torch.cat([true[:keep], true[-keep:]])
        if len(values) != 2 * keep or float((values - ends).abs().max()) > 0.05 * largest:
            yield f"query {query} does not hold the ends of its effects"
            return


def _wrong_claims(
    case: Case, truth: Truth, actual: Stored, expected: Expected, output: str
) -> Iterator[str]:
    """What the certificate says of the solve."""
    solves = actual.solves
    if not all(abs(value - truth.damping) < 1e-9 for value in solves["damping"]):
        yield f"damping {solves['damping'][0]} is {truth.damping}"
    if actual.solves["leverage"].n_unique() != 1:
        yield "leverage of some queries alone"
    counts = has_leverage(actual)
    if (case.leverage == "off" and counts) or (case.leverage == "on" and not counts):
        yield f"leverage is {solves['leverage'][0]}, and was set {case.leverage}"
    if not all(value == case.members for value in solves["models"]):
        yield f"models {solves['models'][0]} are {case.members}"
    if (
        expected.indefinite
        and solves["converged"].all()
        and not re.search(INDEFINITE, output, re.I)
    ):
        yield "an indefinite curvature passes as converged"
    if expected.residuals is None or case.by_sketches or case.curvature_rows:
        return
    residuals = torch.tensor(solves.sort("query")["residual"].to_list(), dtype=torch.float64)
    gap = (residuals - expected.residuals).abs() / (1e-3 + expected.residuals)
    if not bool((gap < 0.02).all()):
        place = int(gap.nan_to_num(torch.inf).argmax())
        truth = f"{expected.residuals[place]:.4g}"
        yield f"residual of query {place}: {residuals[place]:.4g} is {truth}"
