"""Flow: the data-quality report of a run."""

from pathlib import Path
from typing import Annotated

from prefect import flow
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from pydantic import Field

from flows.flow_run_names import named_for_the_night
from flows.prefect_hooks import tell_of_failure
from tasks.report.build import Wish, build_report
from tasks.runtime.foreign_errors import refusing

Price = Annotated[float, Field(ge=0)]


@flow(
    name="data-quality-report",
    flow_run_name=named_for_the_night,
    persist_result=False,
    on_failure=[tell_of_failure],
    on_crashed=[tell_of_failure],
)
@refusing
def report(
    study: str,
    run: str | None = None,
    against: str | None = None,
    price_per_hour: Price | None = None,
) -> str:
    """Build the page of a run from the store alone.

    Args:
        study: path of the study file.
        run: by name; the newest finished one if left out.
        against: the run to compare with; the newest earlier one that can be if left out.
        price_per_hour: of the machine, for the section on cost.

    Returns:
        The path of the page.
    """
    built = build_report(Wish(study, run, against, None, price_per_hour))
    sentences = "\n".join(f"- {sentence}" for sentence in built.headline)
    link = Path(built.path).as_uri()
    create_markdown_artifact(
        f"# Data quality, run {built.run}\n\n{sentences}\n\n[The page]({link})\n",
        key="data-quality", description=built.run,
    )  # fmt: skip
    create_table_artifact(built.trust, key="data-quality-trust", description=built.run)
    create_link_artifact(link, link_text=f"{built.run}.html", key="data-quality-page")
    return built.path
