"""One self-contained HTML page about a night."""

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

from storage.run_comparison import BECAME, STOPPED
from tasks.planning.actuals import GIGABYTE
from tasks.report import charts
from tasks.report.data_quality import Quality, quality_of
from tasks.report.duplicates import Duplicates, duplicates_of
from tasks.report.formatting import Row, legible, shown
from tasks.report.headline import headline
from tasks.report.mislabels import Suspects, suspects_of
from tasks.report.reliability import (
    Assurance,
    Baseline,
    assurances,
    baselines,
    costs,
)
from tasks.report.run_data import Night
from tasks.report.slices import Slices, slices_of
from tasks.report.tfidf_space import space_of
from tasks.report.worst_queries import Case, cases, offenders
from tasks.results.group_names import name_of

CHANGED = 100


@dataclass(frozen=True, eq=False)
class Page:
    """What a page says, section by section.

    Attributes:
        night: the run.
        headline: three sentences.
        cases: the worst queries and their evidence.
        offenders: training rows that do most harm.
        suspects: labels that are probably wrong; None if nobody searched.
        slices: who harms whom.
        duplicates: rows that are alike.
        quality: the rest.
        assurances: how far to trust it.
        baselines: simpler measures beside influence.
        changed: rows that became harmful or stopped being so.
        costs: seconds by stage.
        pictures: SVG by name.
        price: of an hour, if it is known.
    """

    night: Night
    headline: list[str]
    cases: list[Case]
    offenders: list[Row]
    suspects: Suspects | None
    slices: Slices
    duplicates: Duplicates
    quality: Quality
    assurances: list[Assurance]
    baselines: list[Baseline]
    changed: list[Row]
    costs: list[Row]
    pictures: dict[str, str]
    price: float | None

    @property
    def computed(self) -> int:
        """Queries that were not carried over from an earlier night."""
        facts = self.night.summary.facts
        carried = json.loads(str(facts["candidates"])).get("carried") or {}
        return int(str(facts["query_rows"])) - int(carried.get("queries", 0))


def page_of(night: Night, price: float | None = None) -> Page:
    """All sections of a night."""
    space = space_of(night)
    duplicates, slices, suspects = duplicates_of(night, space), slices_of(night), suspects_of(night)
    told, spent = assurances(night, duplicates), costs(night)
    pictures = {
        "matrix": charts.matrix(slices.matrix, slices.slice, slices.source),
        "correlations": charts.correlations(slices.correlations),
        "influence": charts.influence_map(night),
        "space": charts.space_map(night, space),
        "costs": charts.costs(spent),
    }
    return Page(
        night=night,
        headline=headline(night, slices, suspects, told),
        cases=cases(night, duplicates),
        offenders=offenders(night),
        suspects=suspects,
        slices=slices,
        duplicates=duplicates,
        quality=quality_of(night, space),
        assurances=told,
        baselines=baselines(night, space),
        changed=_changed(night),
        costs=spent,
        pictures={name: Markup(drawn) for name, drawn in pictures.items()},
        price=price,
    )


def render(page: Page) -> str:
    """The page as HTML: nothing is asked of a network, and no text of the data is markup."""
    script, style = _asset("page.js"), _asset("page.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _environment().get_template("page.html.jinja").render(
        page=page, night=page.night, facts=page.night.summary.facts, script=Markup(script),
        style=Markup(style), digest=digest, made=datetime.now(UTC), gigabyte=GIGABYTE,
    )  # fmt: skip


@cache
def _environment() -> Environment:
    environment = Environment(
        finalize=_legible,
        loader=PackageLoader("tasks.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "shown": shown,
        "named": name_of,
        "nats": _nats,
        "percent": _percent,
        "bare": _bare,
        "pace": _pace,
        "zip": zip,
    }
    return environment


def _asset(name: str) -> str:
    return (files("tasks.report") / "templates" / name).read_text("utf-8")


def _legible(value: object) -> object:
    """Every text that is put out, wherever it comes from: the page is valid whatever rows hold."""
    return legible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _nats(value: float | None) -> str:
    return "not finite" if value is None else f"{value:+.4f}"


def _percent(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:.{digits}%}"


def _pace(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def _bare(column: str) -> str:
    return column.removeprefix("group_").replace("_", " ")


def _changed(night: Night) -> list[Row]:
    if night.difference is None or night.difference.rows is None:
        return []
    rows = night.difference.rows.filter(pl.col("change").is_in([BECAME, STOPPED]))
    return rows.head(CHANGED).to_dicts()
