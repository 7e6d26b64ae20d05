"""Page of the last runs of a study: small charts and a table in one HTML file without a script."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

from storage.atomic import write_bytes
from tasks.report.formats import ReportFormat, check_page_path
from tasks.report.history import METRICS, HistoryRun, read_history
from tasks.report.history_charts import format_value, render_chart
from tasks.report.page import make_environment, read_asset
from tasks.report.report_marks import HISTORY_TITLE
from tasks.run.page_path import make_page_path
from tasks.run.spec import open_existing_store
from tasks.runtime.writable_path import check_outside
from tasks.study.report_section import ReportLimits
from tasks.study.study import load_study

NAME = "history"


def write_history(study_path: Path, last: int, out: str | None = None) -> Path:
    """Write the page of the last finished runs atomically and return its path.

    Args:
        study_path: Path of the study file.
        last: Largest number of runs.
        out: Path of the page; `history.html` among the reports if None.

    Raises:
        InputError: There is no finished run, or the file exists and is no page of this kind.
    """
    study = load_study(study_path)
    store = open_existing_store(study)
    default = make_page_path(store.layout.root, study.folder, NAME)
    path = check_page_path(out or str(default), ReportFormat.HTML, HISTORY_TITLE)
    if out:
        check_outside(store.layout.root, path)
    html = render_history(study.name, read_history(store, last), study.report)
    write_bytes(path, html.encode())
    return path.resolve()


def render_history(study: str, runs: Sequence[HistoryRun], limits: ReportLimits) -> str:
    """Render the page.

    Args:
        study: Name of the study.
        runs: Runs, oldest first.
        limits: Section `[report]` of the study.
    """
    charts = []
    for metric in METRICS:
        limit = getattr(limits, metric.key)
        bound = "at least" if metric.key.endswith("_below") else "at most"
        words = "" if limit is None else f"{bound} {format_value(metric, limit)}"
        charts.append((metric, Markup(render_chart(metric, runs, limit)), words))
    return make_environment().get_template("history.html.jinja").render(
        study=study, runs=runs, charts=charts, style=Markup(read_asset("page.css")),
        made=datetime.now(UTC),
    )  # fmt: skip
