"""Assembly and rendering of the report: one self-contained HTML page about a run."""

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from storage.run_comparison import ENTERED, ENTERED_DOUBLED, LEFT_HALVED
from tasks.mislabels.strength import compute_bar_length, grade_strength
from tasks.mislabels.tabular_views import make_features
from tasks.planning.actuals import GIGABYTE
from tasks.report import charts
from tasks.report.actions import Action, list_actions
from tasks.report.causes import CauseCount, count_causes
from tasks.report.data_quality import DataQuality, assess_data_quality
from tasks.report.duplicates import Duplicates, find_duplicates
from tasks.report.formatting import Row, escape_unprintable, shorten_text
from tasks.report.headline import make_headline
from tasks.report.label_matrix import LabelMatrix, make_label_matrix
from tasks.report.labels_page import LabelsPage
from tasks.report.mislabels import (
    FlaggedLabels,
    format_signal,
    make_review_row,
    read_flagged_labels,
)
from tasks.report.page_description import PageDescription
from tasks.report.reliability import (
    Baseline,
    ReliabilityCheck,
    check_reliability,
    compare_baselines,
    list_stage_seconds,
)
from tasks.report.run_data import RunData
from tasks.report.slices import SourceSliceEffects, summarize_slices
from tasks.report.tfidf_space import TfidfSpace, make_space, make_tfidf_space
from tasks.report.training_map import TrainingMap, list_shown_rows, make_training_map
from tasks.report.worst_queries import QueryCase, find_most_harmful, make_query_cases
from tasks.results.changed_prediction import describe_support
from tasks.results.changed_query import describe_rows, name_states
from tasks.results.explained_query import format_ranking_score
from tasks.results.group_names import format_group_value
from tasks.results.limits import LimitTest, check_limits
from tasks.results.paired_accuracy import compare_paired_accuracy
from tasks.results.palette import format_css_variables
from tasks.results.query_measure import format_measure
from tasks.study.report_section import ReportLimits
from tasks.study.target_kind import ONE_CLASS

MAX_CHANGED = 100
SCRIPTS = (
    "tables.js",
    "decisions.js",
    "selection.js",
    "review.js",
    "address.js",
    "lasso.js",
    "map.js",
    "folds.js",
    "page.js",
)
"""Scripts of the page, in the order in which they are joined."""


@dataclass(frozen=True, eq=False)
class Page:
    """Contents of a report page, section by section.

    Attributes:
        data: Data of the run.
        actions: Recommended actions, certain findings first.
        tests: Tests of the run against the limits of the study.
        headline: Summary sentences.
        cases: Queries of highest loss with their most harmful and helpful training rows.
        confusion: True and predicted labels of all queries.
        most_harmful: Training rows with the largest harm over all queries.
        flagged: Flagged labels; None if no search was run.
        slices: Influence of sources on slices.
        duplicates: Exact and near duplicates, and leaks.
        quality: Outliers, rare labels, clusters of queries.
        reliability_checks: Checks of the run's reliability.
        baselines: Simpler measures compared with influence.
        changed: Rows that entered or left the most harmful ones since the earlier run.
        stage_seconds: Forecast and measured seconds by stage.
        map: Map of the training rows.
        pictures: Figures as SVG, by name.
        price_per_hour: Price of one machine hour; None if unknown.
    """

    data: RunData
    actions: list[Action]
    tests: list[LimitTest]
    headline: list[str]
    cases: list[QueryCase]
    confusion: LabelMatrix
    most_harmful: list[Row]
    flagged: FlaggedLabels | None
    slices: SourceSliceEffects
    duplicates: Duplicates
    quality: DataQuality
    reliability_checks: list[ReliabilityCheck]
    baselines: list[Baseline]
    changed: list[Row]
    stage_seconds: list[Row]
    map: TrainingMap
    pictures: dict[str, str]
    price_per_hour: float | None

    @property
    def causes(self) -> list[CauseCount]:
        """Causes of the queries of highest loss, the most frequent first."""
        return count_causes([case.causes for case in self.cases])

    @property
    def computed_queries(self) -> int:
        """Number of queries that were computed in this run, not reused from its parent."""
        facts = self.data.summary.facts
        reuse = json.loads(str(facts["candidates"])).get("carried") or {}
        return int(str(facts["query_rows"])) - int(reuse.get("queries", 0))


def build_page(
    data: RunData, price_per_hour: float | None = None, limits: ReportLimits | None = None
) -> Page:
    """Compute all sections of a run.

    Args:
        data: Data of the run.
        price_per_hour: Price of one machine hour; None if unknown.
        limits: Limits of the study; none by default.
    """
    space = _make_row_space(data)
    duplicates, slices, flagged = (
        find_duplicates(data, space),
        summarize_slices(data),
        read_flagged_labels(data),
    )
    checks, stage_seconds = check_reliability(data, duplicates), list_stage_seconds(data)
    quality = assess_data_quality(data, space)
    cases, most_harmful = make_query_cases(data, duplicates), find_most_harmful(data)
    changed = _list_changed(data)
    suspects = flagged.rows if flagged else []
    shown = list_shown_rows([suspects, most_harmful, quality.outliers, changed, duplicates.leaks])
    limits = limits or ReportLimits()
    return Page(
        data=data,
        actions=list_actions(data, duplicates, quality, flagged, checks),
        tests=check_limits(limits, data.summary, data.queries, data.difference, data.labels),
        headline=make_headline(data, slices, flagged, checks),
        cases=cases,
        confusion=_count_predictions(data, cases),
        most_harmful=most_harmful,
        flagged=flagged,
        slices=slices,
        duplicates=duplicates,
        quality=quality,
        reliability_checks=checks,
        baselines=compare_baselines(data, space),
        changed=changed,
        stage_seconds=stage_seconds,
        map=make_training_map(data, space, shown),
        pictures=_render_pictures(slices, stage_seconds),
        price_per_hour=price_per_hour,
    )


def _make_row_space(data: RunData) -> TfidfSpace:
    """Vectors of the rows: tf-idf of texts, or pixels of images."""
    if data.has_texts:
        return make_tfidf_space(data)
    return make_space(make_features(data.images), len(data.train))


def _render_pictures(slices: SourceSliceEffects, stage_seconds: list[Row]) -> dict[str, str]:
    pictures = {
        "matrix": charts.render_effect_matrix(slices.matrix, slices.slice_name, slices.source_name),
        "correlations": charts.render_correlations(slices.correlations),
        "costs": charts.render_stage_seconds(stage_seconds),
    }
    return {name: Markup(rendered) for name, rendered in pictures.items()}


def render_page(page: Page | LabelsPage) -> str:
    """Render the page as HTML that loads nothing and escapes every text of the data."""
    script = _join_scripts()
    style = format_css_variables() + read_asset("page.css") + read_asset("map.css")
    script_hash = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return make_environment().get_template("page.html.jinja").render(
        page=page, data=page.data, facts=page.data.facts, script=Markup(script),
        style=Markup(style), digest=script_hash, description=_describe_page(page),
        made=datetime.now(UTC), gigabyte=GIGABYTE,
    )  # fmt: skip


def _describe_page(page: Page | LabelsPage) -> dict[str, object]:
    """Describe the page for an index of pages."""
    facts = page.data.facts
    return PageDescription(
        study=f"{facts['study']}",
        run=page.data.run,
        finished=f"{facts['finished']}",
        tests=tuple((t.name, t.status.value, t.measured) for t in page.tests if t.bound),
        actions=tuple(action.what for action in page.actions),
    ).dump()


@cache
def make_environment() -> Environment:
    """Return the environment of the templates, which escapes every text of the data."""
    environment = Environment(
        finalize=_escape_value,
        loader=PackageLoader("tasks.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "shown": shorten_text,
        "named": format_group_value,
        "nats": _format_effect,
        "ranking_score": format_ranking_score,
        "measure": format_measure,
        "support": describe_support,
        "percent": _format_percent,
        "bare": _format_column,
        "signal": format_signal,
        "review": make_review_row,
        "grade": grade_strength,
        "bar": compute_bar_length,
        "paired": compare_paired_accuracy,
        "states": name_states,
        "rest": describe_rows,
        "pace": _format_duration,
        "zip": zip,
    }
    return environment


def read_asset(name: str) -> str:
    """Read a file of the templates, such as `page.css`."""
    return (files("tasks.report") / "templates" / name).read_text("utf-8")


def _join_scripts() -> str:
    """Join the scripts as one, whose names are its own."""
    body = "\n".join(map(read_asset, SCRIPTS))
    return f'"use strict";\n(() => {{\n{body}}})();\n'


def _escape_value(value: object) -> object:
    """Escape unprintable characters in every text of the template, so that the page is valid."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return escape_unprintable(value)


def _format_effect(value: float | None) -> str:
    return "not finite" if value is None else f"{value:+.4f}"


def _format_percent(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:.{digits}%}"


def _format_duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def _format_column(column: str) -> str:
    return column.removeprefix("group_").replace("_", " ")


def _count_predictions(data: RunData, cases: list[QueryCase]) -> LabelMatrix:
    """Count the pairs of true and predicted label of the queries with labels."""
    if data.target not in ONE_CLASS:  # pairs of numbers or label sets are nearly unique
        return make_label_matrix([], [])
    listed = [(case.query["label"], case.query["prediction"]) for case in cases]
    pairs = data.queries.drop_nulls("label").select("label", "prediction")
    return make_label_matrix(pairs.rows(), [pair for pair in listed if pair[0] is not None])


def _list_changed(data: RunData) -> list[Row]:
    """Rows that entered or left the most harmful ones; a removed row has no position `train`."""
    if data.difference is None or data.difference.rows is None:
        return []
    change = pl.col("change")
    is_strong = change.is_in([ENTERED_DOUBLED, LEFT_HALVED])
    rows = data.difference.rows.with_columns(entered=change.is_in(ENTERED), strong=is_strong)
    positions = data.train.select("id", "train").unique("id", keep="none", maintain_order=True)
    first = rows.head(MAX_CHANGED).join(positions, on="id", how="left", maintain_order="left")
    return first.with_columns(train=pl.when(~pl.col("gone")).then("train")).to_dicts()
