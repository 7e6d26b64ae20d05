"""How an audit goes about its work, by forecast: the method first, then the sizes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from fastif import InputError
from fastif.evaluation.select_k import ladder
from storage import StoreError, free_bytes
from tasks.planning.batch_sizing import fitted
from tasks.planning.cost_model import GUESSED_PART
from tasks.planning.forecast import forecast
from tasks.run.artifact_keys import method_digest
from tasks.run.members import with_plan, with_study
from tasks.run.method_choice import (
    ALONE,
    FULL,
    KNN,
    SKETCH,
    MethodChoice,
    Offer,
    choose,
)
from tasks.run.method_selection import read_method
from tasks.run.spec import planned_shards
from tasks.study.sections import (
    AnyCandidates,
    Auto,
    FullScan,
    Knn,
    Sketches,
)

if TYPE_CHECKING:  # a job is planned while it is made
    from tasks.run.context import Job

ENDS = 200
"""Scores of a query that sketches alone keep, as many as a full scan."""


def planned(job: "Job") -> "Job":
    """The job with all that its study leaves to us. Nothing is written.

    Raises:
        InputError: nothing fits into what the study allows.
    """
    section = job.study.candidates
    if not isinstance(section, Auto):
        return fitted(job)
    choice = chosen_before(job) or choose(offers(job, section), section.minutes)
    if choice is None:
        raise _nothing_to_take(job, section)
    job = _as_if(job, choice.taken.candidates)
    return fitted(with_plan(job, replace(job.plan, method=choice)))


def chosen_before(job: "Job") -> MethodChoice | None:
    """The choice that the run began with; None if it is not made, or the study names a method."""
    try:
        return read_method(job.store, method_digest(job.plan.record))
    except StoreError:
        return None  # there is no store yet


def offers(job: "Job", section: Auto) -> list[Offer]:
    """What each method would take from here."""
    rows, check = len(job.train_texts), section.check
    sketch = Sketches(target_recall=section.target_recall, check=check)
    found = [_offer(job, FULL, FullScan()), _offer(job, SKETCH, sketch)]
    if section.sketch_scores:
        alone = Sketches(k=min(ENDS, rows), rescore=False, check=check)
        found.append(_offer(job, ALONE, alone))
    limit = float("inf") if section.minutes is None else 60 * section.minutes
    return [*found, _widest(list(_nearest(job, check)), limit)]


def _nearest(job: "Job", check: int) -> Iterator[Offer]:
    """Of up to a tenth of the rows, the most first."""
    rows = len(job.train_texts)
    for k in reversed(ladder(rows)):
        if k * GUESSED_PART <= rows + GUESSED_PART:
            yield _offer(job, KNN, Knn(k=k, check=check))


def _widest(offers: list[Offer], limit: float) -> Offer:
    """The first that takes no longer than that, or the last."""
    return next((one for one in offers if not one.lacks and one.seconds <= limit), offers[-1])


def _offer(job: "Job", name: str, candidates: AnyCandidates) -> Offer:
    lacks = _hindrance(job, candidates)
    if lacks:
        return Offer(name, candidates, lacks=lacks)
    try:
        fit = fitted(_as_if(job, candidates))
    except InputError as error:
        return Offer(name, candidates, lacks=f"it needs {error.where} {error.expected}")
    found = forecast(fit, planned_shards(fit.plan))
    free = free_bytes(job.plan.store_path)
    lacks = "" if found.disk <= free else f"it needs {found.disk / 1e6:,.0f} MB of disk"
    return Offer(name, candidates, found.seconds, found.memory, found.disk, lacks)


def _hindrance(job: "Job", candidates: AnyCandidates) -> str:
    """Why the study cannot be sketched; empty if it can, or need not be."""
    if not isinstance(candidates, Sketches):
        return ""
    if job.study.fixed_damping == 0:
        return "sketches need a damping > 0"
    if not candidates.rescore and job.others:
        return "it would answer for one of several models"
    if not candidates.rescore and job.study.curvature.kind == "hessian":
        return "it would answer for the Gauss-Newton matrix, not the Hessian"
    return ""


def _as_if(job: "Job", candidates: AnyCandidates) -> "Job":
    return with_study(job, job.study.model_copy(update={"candidates": candidates}))


def _nothing_to_take(job: "Job", section: Auto) -> InputError:
    lacks = "; ".join(f"{one.name}: {one.lacks}" for one in offers(job, section))
    return InputError(
        "[candidates] kind",
        "a method that memory and disk have room for",
        lacks,
        "Raise [run] memory_gb, free some space, or attribute fewer parameters.",
    )
