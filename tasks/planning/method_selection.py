"""Selection of the settings that a study leaves open: for its budget, or one after the other."""

from collections.abc import Iterator
from dataclasses import replace

from fastif import InputError
from fastif.evaluation.select_k import make_k_grid
from storage.atomic import count_free_bytes
from tasks.planning.batch_sizing import fit_to_memory
from tasks.planning.budget import select_for_budget
from tasks.planning.curvature_rows import select_rows
from tasks.planning.forecast import forecast_run
from tasks.planning.options import SKETCH_SCORES_KEPT
from tasks.run.choices import resolve_choices
from tasks.run.context import RunContext
from tasks.run.members import replace_plan, replace_study
from tasks.run.method_choice import (
    FULL,
    KNN,
    SKETCH,
    SKETCH_ONLY,
    MethodEstimate,
    MethodSelection,
    method_digest,
    select_method,
)
from tasks.run.rows_selection import explain_kept_rows
from tasks.run.selections import METHOD
from tasks.run.spec import list_planned_shards, replan
from tasks.study.any_candidates import AnyCandidates
from tasks.study.candidate_section import K_GUESS_DIVISOR
from tasks.study.candidates import AutoSection, FullScanSection
from tasks.study.index_sections import KnnSection, SketchSection


def resolve_auto_settings(context: RunContext) -> RunContext:
    """Return the context with method and sizes that the study leaves open. Nothing is written.

    Raises:
        InputError: No method fits into the limits of the study.
    """
    context = _resolve_open_settings(context)
    section = context.study.candidates
    if not isinstance(section, AutoSection):
        return fit_to_memory(context)
    choice = find_earlier_choice(context) or select_method(
        estimate_methods(context, section), section.minutes
    )
    if choice is None:
        raise _make_no_method_error(context, section)
    context = _replace_candidates(context, choice.selected.candidates)
    return fit_to_memory(replace_plan(context, replace(context.plan, method=choice)))


def _resolve_open_settings(context: RunContext) -> RunContext:
    """Return the context with the settings that decide its name, as far as the study leaves any."""
    plan = context.plan
    if not plan.is_settled:
        is_budgeted = plan.study_as_written.run.budget is not None
        selection = select_for_budget(context) if is_budgeted else select_rows(context)
        return resolve_choices(replace_plan(context, replan(plan, selection)))
    if plan.rows is None:
        return context
    rows = explain_kept_rows(plan.rows, select_rows(context))
    return replace_plan(context, replace(plan, rows=rows))


def find_earlier_choice(context: RunContext) -> MethodSelection | None:
    """Return the method selected at the start of the run; None before, or if the study sets it."""
    store = context.existing_store
    return store and METHOD.read(store, method_digest(context.plan.record))


def estimate_methods(context: RunContext, section: AutoSection) -> list[MethodEstimate]:
    """Forecast the remaining cost of each candidate method."""
    rows, check = len(context.train_examples), section.check
    sketch = SketchSection(target_recall=section.target_recall, check=check)
    estimates = [
        _estimate_method(context, FULL, FullScanSection()),
        _estimate_method(context, SKETCH, sketch),
    ]
    if section.sketch_scores:
        sketch_only = SketchSection(k=min(SKETCH_SCORES_KEPT, rows), rescore=False, check=check)
        estimates.append(_estimate_method(context, SKETCH_ONLY, sketch_only))
    limit = float("inf") if section.minutes is None else 60 * section.minutes
    return [*estimates, _select_widest(list(_estimate_knn(context, check)), limit)]


def _estimate_knn(context: RunContext, check: int) -> Iterator[MethodEstimate]:
    """Yield forecasts for k up to a tenth of the rows, largest k first."""
    rows = len(context.train_examples)
    for k in reversed(make_k_grid(rows)):
        if k * K_GUESS_DIVISOR <= rows + K_GUESS_DIVISOR:
            yield _estimate_method(context, KNN, KnnSection(k=k, check=check))


def _select_widest(estimates: list[MethodEstimate], limit: float) -> MethodEstimate:
    """Return the first estimate within the time limit, or the last one."""
    return next(
        (estimate for estimate in estimates if not estimate.lacks and estimate.seconds <= limit),
        estimates[-1],
    )


def _estimate_method(context: RunContext, name: str, candidates: AnyCandidates) -> MethodEstimate:
    reason = _find_obstacle(context, candidates)
    if reason:
        return MethodEstimate(name, candidates, lacks=reason)
    try:
        sized_context = fit_to_memory(_replace_candidates(context, candidates))
    except InputError as error:
        return MethodEstimate(name, candidates, lacks=f"needs {error.where} {error.expected}")
    expected = forecast_run(sized_context, list_planned_shards(sized_context.plan))
    free = count_free_bytes(context.plan.store_path)
    reason = "" if expected.disk <= free else f"needs {expected.disk / 1e6:,.0f} MB of disk"
    return MethodEstimate(
        name, candidates, expected.seconds, expected.memory, expected.disk, reason
    )


def _find_obstacle(context: RunContext, candidates: AnyCandidates) -> str:
    """Return the reason why a method is unavailable for the study; empty if it is available."""
    if candidates.requires_damping and context.study.fixed_damping == 0:
        return "needs a damping > 0"
    if candidates.has_sketch_scores and context.others:
        return "supports one model only"
    if candidates.has_sketch_scores and context.study.curvature.kind == "hessian":
        return "supports the Gauss-Newton matrix only, not the Hessian"
    return ""


def _replace_candidates(context: RunContext, candidates: AnyCandidates) -> RunContext:
    """Return the context with this method, and with its k if that was selected before."""
    study = context.study.model_copy(update={"candidates": candidates})
    return resolve_choices(replace_study(context, study))


def _make_no_method_error(context: RunContext, section: AutoSection) -> InputError:
    reasons = "; ".join(
        f"{estimate.name}: {estimate.lacks}" for estimate in estimate_methods(context, section)
    )
    return InputError(
        "[candidates] kind",
        "a candidate method that fits into memory and disk",
        reasons,
        "Raise [run] memory_gb, free some space, or attribute fewer parameters.",
    )
