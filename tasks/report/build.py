"""Task that builds the report of a run, or of labels alone, and writes it next to the store."""

from dataclasses import dataclass
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from fastif import InputError
from storage import Store
from storage.atomic import write_bytes
from tasks.data.inputs import read_inputs
from tasks.report.built_report import BuiltReport, make_built_report
from tasks.report.formats import ReportFormat, check_page_path, select_format
from tasks.report.label_data import read_label_data
from tasks.report.labels_page import LabelsPage, build_labels_page
from tasks.report.markdown import render_report_markdown
from tasks.report.page import Page, build_page, render_page
from tasks.report.report_json import render_report_json
from tasks.report.run_data import read_run_data
from tasks.run.lookup import find_latest_run
from tasks.run.page_path import make_page_path
from tasks.run.spec import open_existing_store
from tasks.runtime.writable_path import check_outside
from tasks.study.study import Study, load_study


@dataclass(frozen=True)
class ReportRequest:
    """Parameters of a report.

    Attributes:
        study: Path of the study file.
        run: Name of the run; the newest finished one if None.
        against: Name of the run to compare with; the newest comparable one if None.
        out: Path of the file; next to the store if None.
        price_per_hour: Price of one machine hour, for the section on cost; None to omit it.
        format: `html`, `json` or `md`; that of the suffix of `out` if None, else `html`.
    """

    study: str
    run: str | None = None
    against: str | None = None
    out: str | None = None
    price_per_hour: float | None = None
    format: str | None = None


@task(name="build-report", cache_policy=NO_CACHE)
def build_report(request: ReportRequest) -> BuiltReport:
    """Read a run, or labels alone, build the report and write it atomically.

    Raises:
        InputError: The file exists and is no report of the same format, or lies inside the store;
            or a study of labels alone, which has no runs, with a parameter of a run.
        StoreError: There is no finished run; of labels alone, no detection of the current rows.
    """
    kind = select_format(request.out, request.format)
    study = load_study(Path(request.study))
    store = open_existing_store(study)
    page: Page | LabelsPage
    if study.has_audit or store.find_latest():
        run = request.run or find_latest_run(store)
        path = _find_path(request, study, store, run, kind)
        data = read_run_data(store, run, study.path, request.against)
        page = build_page(data, request.price_per_hour, study.report)
    else:
        _check_labels_alone(request)
        labels = read_label_data(store, read_inputs(study.path, "the report of labels alone"))
        path = _find_path(request, study, store, labels.run, kind)
        page = build_labels_page(labels, study.report)
    report = make_built_report(page, str(path.resolve()))
    write_bytes(path, _render(page, report, kind).encode())
    return report


def _check_labels_alone(request: ReportRequest) -> None:
    """Refuse parameters of a run for a study that has none."""
    values = {
        "RUN": request.run, "--against": request.against, "--price": request.price_per_hour
    }  # fmt: skip
    if given := [name for name, value in values.items() if value is not None]:
        raise InputError(
            ", ".join(given),
            "a study with a run",
            "a study of labels alone, which has none",
            "Omit this; the report is about the current labels.",
        )


def _find_path(
    request: ReportRequest, study: Study, store: Store, run: str, kind: ReportFormat
) -> Path:
    if request.out:
        path = check_page_path(request.out, kind)
        check_outside(store.layout.root, path)
        return path
    page = make_page_path(store.layout.root, study.folder, run)
    if kind is ReportFormat.HTML:
        return page
    return check_page_path(str(page.with_suffix(f".{kind}")), kind)


def _render(page: Page | LabelsPage, report: BuiltReport, kind: ReportFormat) -> str:
    if kind is ReportFormat.JSON:
        return render_report_json(report)
    if kind is ReportFormat.MARKDOWN:
        return render_report_markdown(report)
    return render_page(page)
