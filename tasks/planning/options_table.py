"""Table of the options of an audit, for a dry run."""

import json
from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from storage import Store
from tasks.planning.agreement_cost import DEFAULT_BUDGET
from tasks.planning.budget import FORECAST_SHARE
from tasks.planning.options import estimate_options, rank_option, select_option
from tasks.run.budget_selection import Option, Settings
from tasks.run.context import RunContext
from tasks.run.rows_selection import rows_digest
from tasks.run.selections import AGREEMENT
from tasks.study.durations import format_duration

MOST = 8
"""Largest number of options that are shown."""
MIN_SAVING = 0.9
"""Largest share of the time of more accurate options at which an option is shown."""
UNKNOWN = "not measured"
BENCHMARK = {256: 0.92, 512: 0.96}
"""Correlations with all rows of 1,500 reviews with three labels, by curvature rows, as measured by
`benchmarks/budget.py`: the expectation for a study that has measured none."""


def render_options(context: RunContext) -> tuple[Table, list[str]]:
    """Render the options that are worth a choice, and the lines that set them.

    Nothing unavailable is shown, and nothing that is hardly quicker than a more accurate option,
    except the study's own settings.
    """
    study = context.study
    own = Settings(study.curvature.sample_size, study.solver, study.candidates)
    limit = FORECAST_SHARE * (study.run.budget_seconds or DEFAULT_BUDGET)
    measured = read_measured_agreement(context)
    options = list_worthwhile(estimate_options(context, is_free=True), own)
    recommended = recommend(options, limit, own)
    table = Table(title="options", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("", "settings", "time", "memory", "agreement with all rows"):
        table.add_column(name, overflow="fold")
    lines = []
    for number, option in enumerate(options, 1):
        marks = ["this study"] * (option.settings == own)
        marks += ["recommended"] * (option is recommended)
        name = f"{option.settings}" + (f" ({', '.join(marks)})" if marks else "")
        table.add_row(
            f"{number}",
            Text(name, style="bold" if marks else ""),
            format_duration(option.seconds + option.measurement),
            f"{option.memory / 2**30:.1f} GB",
            _describe_agreement(option.settings, measured),
        )
        if option.settings != own:
            lines.append(f"To set {number}: {'; '.join(option.keys)}")
    return table, lines


def list_worthwhile(options: Sequence[Option], own: Settings) -> list[Option]:
    """Return the available options that save a tenth against more accurate ones, and the study's.

    Args:
        options: Options with their forecasts.
        own: Settings of the study.
    """
    shown: list[Option] = []
    quickest = float("inf")
    for option in sorted((o for o in options if not o.lacks), key=rank_option):
        if option.seconds < MIN_SAVING * quickest or option.settings == own:
            shown.append(option)
        quickest = min(quickest, option.seconds)
    removable = [option for option in shown[1:-1] if option.settings != own]
    surplus = removable[: max(0, len(shown) - MOST)]
    return [option for option in shown if option not in surplus]


def recommend(options: Sequence[Option], limit: float, own: Settings) -> Option | None:
    """Return the most accurate option within a time limit.

    If none fits, the study's own settings are recommended, or those of the quickest option with
    exact scores if it takes less than half of their time.

    Args:
        options: Available options.
        limit: Time limit in seconds.
        own: Settings of the study.
    """
    exact = [o for o in options if not o.settings.candidates.has_sketch_scores]
    quickest = min(exact, key=lambda option: option.seconds, default=None)
    kept = next((option for option in exact if option.settings == own), quickest)
    if kept is None or quickest is None:
        return None
    fallback = quickest if quickest.seconds < kept.seconds / 2 else kept
    return select_option(exact, limit) or fallback


def read_measured_agreement(context: RunContext) -> Mapping[int, float]:
    """Return the correlations measured by earlier runs of this model and matrix, by its rows."""
    store = context.existing_store
    digest = _matrix_digest(context.plan.record.parts)
    measured: dict[int, float] = {}
    if store is None:
        return measured
    for status in store.list_runs():
        if status.is_intact and _matrix_digest(status.record.parts) == digest:
            measured = {**_read_points(store, status.record.run), **measured}
    return measured


def _matrix_digest(parts: Mapping[str, object]) -> str:
    """Return the digest of a run's settings of the curvature, its damping too, but for its rows."""
    scan = ("solver", "candidates")
    return rows_digest({name: part for name, part in parts.items() if name not in scan})


def _read_points(store: Store, run: str) -> dict[int, float]:
    (column,) = store.scan("runs", run).select("curvature").collect()["curvature"]
    if AGREEMENT.key not in json.loads(column):
        return {}
    record = AGREEMENT.parse_column(column)
    points = record.measured.points if record is not None and record.measured is not None else ()
    return {point.rows: point.pearson for point in points}


def _describe_agreement(settings: Settings, measured: Mapping[int, float]) -> str:
    if settings.candidates.has_sketch_scores:
        return UNKNOWN
    if settings.rows is None:
        return "exact"
    if settings.rows in measured:
        return f"{measured[settings.rows]:.2f} (measured in this store)"
    correlation = BENCHMARK.get(settings.rows)
    return UNKNOWN if correlation is None else f"{correlation:.2f} (benchmark on 1,500 reviews)"
