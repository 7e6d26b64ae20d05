"""Options of an audit: curvature rows, solver and candidates, each with its forecast."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fastif import InputError
from fastif.solvers.settings import (
    ConjugateGradientSettings,
    DualSettings,
    SolverSettings,
)
from storage.atomic import count_free_bytes
from tasks.planning.batch_sizing import fit_to_memory
from tasks.planning.forecast import forecast_run
from tasks.planning.workload import make_solver_problem
from tasks.run.budget_selection import Option, Settings
from tasks.run.choices import resolve_choices
from tasks.run.context import RunContext
from tasks.run.members import replace_plan
from tasks.run.spec import list_planned_shards, replan_study
from tasks.runtime.machine_memory import count_memory_bytes
from tasks.study.any_candidates import AnyCandidates
from tasks.study.candidates import AutoSection, FullScanSection
from tasks.study.cross_checks import find_contradictions
from tasks.study.index_sections import SketchSection
from tasks.study.study import Study

SAMPLE_SIZES = (4096, 2048, 1024, 512, 256)
"""Numbers of sampled curvature rows that are considered."""
SKETCH_SCORES_KEPT = 200
"""Number of stored scores a query for sketches without rescoring, equal to that of a full scan."""
SMALL_K = 200
"""Number of candidates of the smallest option with sketches: half helpful, half harmful."""
MEGABYTE = 10**6


def estimate_options(context: RunContext, *, is_free: bool = False) -> list[Option]:
    """Forecast the settings that the study leaves open.

    Args:
        context: Context of the run.
        is_free: Whether settings that the study sets are varied too.
    """
    study = context.plan.study_as_written
    options: dict[str, Option] = {}
    for settings in _generate_settings(context, study, is_free):
        options.setdefault(f"{settings}", estimate_option(context, settings))
    return list(options.values())


def _generate_settings(context: RunContext, study: Study, is_free: bool) -> Iterator[Settings]:
    """Yield the settings to consider, those with the most accurate results first."""
    train = len(context.train_examples)
    sizes = _list_sizes(study, train, is_free)
    for candidates in _list_candidates(study, train, is_free):
        for rows in sizes:
            for solver in _list_solvers(study, rows, is_free):
                yield Settings(rows, solver, candidates)


def _list_sizes(study: Study, train: int, is_free: bool) -> list[int | None]:
    curvature = study.curvature
    if curvature.rows != "auto" and not is_free:
        return [curvature.sample_size]
    sizes: list[int | None] = [None, *(size for size in SAMPLE_SIZES if size < train)]
    return list(dict.fromkeys([curvature.sample_size, *sizes])) if is_free else sizes


def _list_candidates(study: Study, train: int, is_free: bool) -> list[AnyCandidates]:
    section, check = study.candidates, study.candidates.checked_queries
    if not is_free and not isinstance(section, AutoSection):
        return [section]
    recall = section.target_recall if isinstance(section, AutoSection) else 0.95
    own = [] if isinstance(section, AutoSection) else [section]
    return [
        *own,
        FullScanSection(),
        SketchSection(target_recall=recall, check=check),
        SketchSection(k=min(SMALL_K, train), check=check),
        SketchSection(k=min(SKETCH_SCORES_KEPT, train), rescore=False, check=check),
    ]


def _list_solvers(study: Study, rows: int | None, is_free: bool) -> list[SolverSettings]:
    """Return the study's solver; of all rows also conjugate gradients, unless the study sets it."""
    if "solver" in study.model_fields_set and not (
        is_free and isinstance(study.solver, DualSettings)
    ):
        return [study.solver]
    drawn = ConjugateGradientSettings(preconditioner="drawn", rank=4000)
    return [study.solver, drawn] if rows is None else [study.solver]


def estimate_option(context: RunContext, settings: Settings) -> Option:
    """Forecast the study with these settings, or find the reason why they are unavailable.

    Args:
        context: Context of the run.
        settings: Curvature rows, solver and candidates in place of those of the study.
    """
    study = context.plan.study_as_written
    keys = tuple(_list_keys(study, settings))
    lacks = _find_obstacle(context, study, settings)
    if lacks:
        return Option(settings, keys, lacks=lacks)
    try:
        sized = _open_option(context, settings)
    except InputError as error:
        return Option(settings, keys, lacks=f"needs {error.where} {error.expected}")
    forecast = forecast_run(sized, list_planned_shards(sized.plan))
    if forecast.disk > count_free_bytes(context.plan.store_path):
        lacks = f"needs {forecast.disk / MEGABYTE:,.0f} MB of disk"
    elif forecast.memory > count_memory_bytes():
        lacks = f"needs {forecast.memory / 2**30:,.1f} GB of memory"
    seconds = forecast.seconds_without_agreement
    measurement = forecast.seconds - seconds
    return Option(settings, keys, seconds, forecast.memory, forecast.disk, lacks, measurement)


def _open_option(context: RunContext, settings: Settings) -> RunContext:
    plan = replan_study(context.plan, settings.apply(context.plan.study_as_written))
    if settings.rows == context.study.curvature.sample_size:
        plan = replace(plan, rows=context.plan.rows, selection=context.plan.selection)
    return fit_to_memory(resolve_choices(replace_plan(context, plan)))


def _find_obstacle(context: RunContext, study: Study, settings: Settings) -> str:
    """Return the reason why settings are unavailable for the study; empty if they are available."""
    changed = settings.apply(study)
    for problem in find_contradictions(changed):
        return f"needs {problem.where}: {problem.expected}"
    if settings.rows is not None and study.curvature.leverage == "on":
        return "leverage is on, which needs the curvature of all rows"
    train = len(context.train_examples)
    if any(method.k is not None and method.k > train for method in changed.candidates.methods):
        return f"only {train:,} training rows"
    solver = settings.solver
    if isinstance(solver, DualSettings):
        rows = (settings.rows or train) * make_solver_problem(context).rows_per_example
        megabytes = solver.count_megabytes(rows)
        if megabytes > solver.memory_mb:
            return f"a Gram matrix of {megabytes:,} MB, above [solver] memory_mb"
    return ""


def _list_keys(study: Study, settings: Settings) -> Iterator[str]:
    """Yield the lines of the study file that differ, each with its section."""
    rows = settings.rows
    if rows != study.curvature.sample_size or study.curvature.rows == "auto":
        value = '"all"' if rows is None else f"{rows}"
        yield f"[curvature] rows = {value}"
    if settings.solver != study.solver:
        assert isinstance(settings.solver, ConjugateGradientSettings)
        rank, preconditioner = settings.solver.rank, settings.solver.preconditioner
        yield f'[solver] kind = "cg", preconditioner = "{preconditioner}", rank = {rank}'
    if settings.candidates != study.candidates:
        yield f"[candidates] {_format_candidates(settings.candidates)}"


def _format_candidates(candidates: AnyCandidates) -> str:
    parts = [f'kind = "{candidates.kind}"']
    for method in candidates.methods:
        recall = method.target_recall
        parts.append(f"k = {method.k}" if recall is None else f"target_recall = {recall:g}")
        parts += ["rescore = false"] * method.has_sketch_scores
    return ", ".join(parts)


def rank_option(option: Option) -> tuple[bool, bool, bool, float, float]:
    """Return the sort key of an option: the lowest is the most accurate.

    Exact scores come before sketch scores, then 512 curvature rows before fewer, then a full scan
    before candidates, then more rows, then less time.
    """
    settings = option.settings
    rows = float("inf") if settings.rows is None else settings.rows
    few = rows < 512
    is_partial = bool(settings.candidates.methods)
    return settings.candidates.has_sketch_scores, few, is_partial, -rows, option.seconds


def select_option(options: Sequence[Option], limit: float) -> Option | None:
    """Return the most accurate available option within a time limit; None if none fits.

    Args:
        options: Options with their forecasts.
        limit: Time limit in seconds.
    """
    fitting = [option for option in options if not option.lacks and option.seconds <= limit]
    return min(fitting, key=rank_option, default=None)
