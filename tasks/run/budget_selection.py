"""Settings selected for a time budget: curvature rows, solver and candidates, with forecasts."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from fastif.solvers.settings import reset_sizes
from storage import compute_fingerprint
from tasks.run.parent_run import MAY_CHANGE
from tasks.study.any_candidates import AnyCandidates
from tasks.study.any_solver import AnySolver
from tasks.study.candidates import AutoSection
from tasks.study.durations import format_duration
from tasks.study.study import Study

SOLVERS: TypeAdapter[AnySolver] = TypeAdapter(AnySolver)
CANDIDATES: TypeAdapter[AnyCandidates] = TypeAdapter(AnyCandidates)


@dataclass(frozen=True)
class Settings:
    """Settings that decide most of an audit's cost.

    Attributes:
        rows: Size of the random sample of curvature rows; None for all rows.
        solver: Section `[solver]`.
        candidates: Section `[candidates]`.
    """

    rows: int | None
    solver: AnySolver
    candidates: AnyCandidates

    def apply(self, study: Study) -> Study:
        """Return the study with these settings, and its own sizes of the same solver."""
        rows = "all" if self.rows is None else self.rows
        curvature = study.curvature.model_copy(update={"rows": rows})
        solver = study.solver if self._has_solver_of(study) else self.solver
        changes = {"curvature": curvature, "solver": solver, "candidates": self.candidates}
        return study.model_copy(update=changes)

    def suits(self, study: Study) -> bool:
        """Return whether the study leaves open, or sets itself, each of these settings."""
        open_rows, open_solver = list_open_settings(study).values()
        has_rows = open_rows or self.rows == study.curvature.sample_size
        has_solver = open_solver or self._has_solver_of(study)
        is_open = isinstance(study.candidates, AutoSection)
        return has_rows and has_solver and (is_open or self.candidates == study.candidates)

    def _has_solver_of(self, study: Study) -> bool:
        """Return whether the solvers give the same answers."""
        return reset_sizes(self.solver) == reset_sizes(study.solver)

    def __str__(self) -> str:
        """Return the settings in words.

        Examples:
            >>> from fastif.solvers.settings import DualSettings
            >>> from tasks.study.candidates import FullScanSection
            >>> print(Settings(512, DualSettings(), FullScanSection()))
            full scan, curvature of 512 rows
        """
        rows = "all rows" if self.rows is None else f"{self.rows:,} rows"
        solver = "" if self.solver.kind == "dual" else f", solver {self.solver.kind}"
        return f"{describe_candidates(self.candidates)}, curvature of {rows}{solver}"


@dataclass(frozen=True)
class Option:
    """Settings with their forecast.

    Attributes:
        settings: Curvature rows, solver and candidates.
        keys: Lines of the study file that set them, where the study differs.
        seconds: Forecast time of the audit without the measurement of its agreement, in seconds.
        memory: Forecast peak memory of the process, in bytes.
        disk: Bytes to be added to the store.
        lacks: Reason why the settings are unavailable; empty if they are available.
        measurement: Forecast time of that measurement, in seconds.
    """

    settings: Settings
    keys: tuple[str, ...] = ()
    seconds: float = 0.0
    memory: int = 0
    disk: int = 0
    lacks: str = ""
    measurement: float = 0.0

    def __str__(self) -> str:
        """Return settings and forecast in one line."""
        forecast = f"about {format_duration(self.seconds)}, {self.memory / 2**30:.1f} GB of memory"
        return f"{self.settings}: {self.lacks or forecast}"


@dataclass(frozen=True)
class BudgetSelection:
    """Settings selected for a time budget.

    Attributes:
        budget: Budget as the user wrote it.
        option: Selected settings with their forecast.
        reason: One or two sentences for the user.
        others: Other settings that were considered, with their forecasts, in one line each.
    """

    budget: str
    option: Option
    reason: str
    others: tuple[str, ...] = ()

    def apply(self, study: Study) -> Study:
        """Return the study with the selected settings."""
        return self.option.settings.apply(study)

    def describe(self) -> Iterator[tuple[str, str]]:
        """Yield the selection with its reason, then the other settings."""
        yield "settings chosen", f"{self.option}. {self.reason}"
        for line in self.others:
            yield "  or", line


def describe_candidates(candidates: AnyCandidates) -> str:
    """Describe a section `[candidates]` in a few words.

    Examples:
        >>> from tasks.study.index_sections import KnnSection, SketchSection
        >>> describe_candidates(SketchSection(target_recall=0.95))
        'sketches with recall 0.95'
        >>> describe_candidates(SketchSection(k=200, rescore=False))
        'sketch scores, k = 200'
        >>> describe_candidates(KnnSection(k=100))
        'nearest neighbours, k = 100'
    """
    methods = candidates.methods
    if len(methods) != 1:
        return "union of candidates" if methods else "full scan"
    method = methods[0]
    name = "sketch scores" if method.has_sketch_scores else "sketches"
    name = name if method.by_products else "nearest neighbours"
    size = f", k = {method.k:,}" if method.k else f" with recall {method.target_recall:g}"
    return name + size


def list_open_settings(study: Study) -> dict[str, bool]:
    """Return whether a study leaves open each setting whose default has a meaning of its own."""
    return {
        "rows": study.curvature.rows == "auto",
        "solver": "solver" not in study.model_fields_set,
    }


def budget_digest(parts: Mapping[str, object], study: Study) -> str:
    """Return the cache key of a selection: settings, models, budget and memory, not the tables.

    Measured times are not part of it.

    Args:
        parts: Fingerprint inputs of the run before the selection, which are those of the defaults
            for settings that are open.
        study: Study as it was written.
    """
    settings = {name: value for name, value in parts.items() if name not in MAY_CHANGE}
    limits = {"seconds": study.run.budget_seconds, "memory_gb": study.run.memory_gb}
    free = list_open_settings(study)
    return compute_fingerprint({"budget": limits, "settings": settings, "open": free})


def run_settings_digest(fingerprint: str) -> str:
    """Return the cache key of the settings of one run, for processes that know only its name."""
    return compute_fingerprint({"settings of run": fingerprint})


def parse_budget_selection(record: dict[str, Any]) -> BudgetSelection:
    """Convert a JSON record to a selection."""
    option = dict(record["option"])
    settings = option.pop("settings")
    parsed = Settings(
        settings["rows"],
        SOLVERS.validate_python(settings["solver"]),
        CANDIDATES.validate_python(settings["candidates"]),
    )
    option["keys"] = tuple(option["keys"])
    others = tuple(record["others"])
    return BudgetSelection(record["budget"], Option(parsed, **option), record["reason"], others)


def make_budget_record(selection: BudgetSelection) -> dict[str, Any]:
    """Convert a selection to a JSON record."""
    option, settings = selection.option, selection.option.settings
    sections = {
        "rows": settings.rows,
        "solver": asdict(settings.solver),  # type: ignore[call-overload]
        "candidates": settings.candidates.model_dump(mode="json"),
    }
    return {
        "budget": selection.budget,
        "option": {**vars(option), "keys": list(option.keys), "settings": sections},
        "reason": selection.reason,
        "others": list(selection.others),
    }
