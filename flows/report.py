"""Flow of the data-quality report."""

from pathlib import Path
from typing import Annotated

from prefect import flow
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from pydantic import Field

from flows.flow_run_names import make_flow_run_name
from flows.page_service import find_page_url
from flows.prefect_hooks import notify_failure
from tasks.report.build import ReportRequest, build_report
from tasks.report.markdown import render_report_markdown
from tasks.runtime.foreign_errors import wrap_library_errors

Price = Annotated[float, Field(ge=0)]


@flow(
    name="data-quality-report",
    flow_run_name=make_flow_run_name,
    persist_result=False,
    on_failure=[notify_failure],
    on_crashed=[notify_failure],
)
@wrap_library_errors
def report(
    study: str,
    run: str | None = None,
    against: str | None = None,
    price_per_hour: Price | None = None,
) -> str:
    """Build the report page of a run, or of labels alone.

    Args:
        study: Path of the study file.
        run: Name of the run; the newest finished one if omitted.
        against: Run to compare with; the newest comparable earlier one if omitted.
        price_per_hour: Price of one machine hour, for the section on cost.

    Returns:
        Path of the page.
    """
    page = build_report(ReportRequest(study, run, against, None, price_per_hour))
    link = find_page_url(Path(page.path))
    create_markdown_artifact(
        render_report_markdown(page, link), key="data-quality", description=page.run
    )
    create_table_artifact(page.reliability, key="data-quality-trust", description=page.run)
    create_link_artifact(link, link_text=f"{page.run}.html", key="data-quality-page")
    return page.path
