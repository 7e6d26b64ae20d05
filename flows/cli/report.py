"""The commands `fastif report` and `fastif export`."""

import webbrowser
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.common import (
    RUN_NAMES,
    RunOption,
    open_study,
    out,
    print_line,
    report_errors,
    resolve_run,
)
from flows.cli.completion import complete_runs
from flows.cli.next_step import name_new_file, print_comparison, print_next
from flows.cli.study_argument import DEFAULT_STUDY, takes_study

if TYPE_CHECKING:  # heavy imports are made inside the commands
    from storage import Store
    from tasks.report.built_report import BuiltReport

app = typer.Typer()

LIMIT_EXIT_CODE = 5
"""Exit code of a report whose tests are as bad as `--fail-on` says."""


class FailOn(StrEnum):
    """Result of a test from which on the exit code is not 0."""

    WARN = "warn"
    FAIL = "fail"


class Format(StrEnum):
    """Format of the report."""

    HTML = "html"
    JSON = "json"
    MARKDOWN = "md"


RunArgument = Annotated[
    str | None,
    typer.Argument(
        help=f"Name of the run; the newest by default. {RUN_NAMES}",
        autocompletion=complete_runs,
    ),
]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        help=f"Run to compare with; the newest comparable earlier run by default. {RUN_NAMES}"
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="File of the report; next to the store by default."),
]
PriceOption = Annotated[
    float | None, typer.Option(min=0, help="Price of one machine hour, to show the cost.")
]
FailOnOption = Annotated[
    FailOn | None,
    typer.Option(
        help="End with exit code 5 if a limit of [report] is broken (fail), or may be by its "
        "interval or is not measured (warn)."
    ),
]
FormatOption = Annotated[
    Format | None,
    typer.Option("--format", help="Format of the file; that of its suffix by default, else html."),
]
OpenOption = Annotated[
    bool, typer.Option("--open", help="Open the written page in the default browser.")
]
LastOption = Annotated[
    int | None,
    typer.Option(
        "--last", min=1, help="Instead, one page of the last N finished runs: charts and a table."
    ),
]


@app.command()
@takes_study
def report(
    run: RunArgument = None,
    study: Path = DEFAULT_STUDY,
    against: AgainstOption = None,
    to: OutOption = None,
    price: PriceOption = None,
    fail_on: FailOnOption = None,
    kind: FormatOption = None,
    is_opened: OpenOption = False,
    last: LastOption = None,
) -> None:
    """Build the data-quality report of a run: one self-contained HTML page, or JSON or Markdown.

    It begins with what to do now, and with tests against limits in [report] of the study. It is
    built from the store alone, and lists suspicious labels if `fastif mislabels` has run before.
    JSON and Markdown have the same findings, without texts of examples.

    For a study of labels alone it is about the current rows and their detection, without effects.
    """
    with report_errors():
        from tasks.report.build import ReportRequest, build_report
        from tasks.report.formats import select_format
        from tasks.run.run_names import resolve_run_name

        selected = select_format(str(to) if to else None, kind)
        if is_opened:
            _check_is_page(selected)
        if last:
            others = {"RUN": run, "--against": against, "--price": price, "--fail-on": fail_on}
            _write_history(study, last, to, selected, others, is_opened)
            return
        if run or against:
            _, store = open_study(study)
            run = resolve_run_name(store, run) if run else None
            against = resolve_run_name(store, against) if against else None
        if fail_on:
            _check_has_limits(study)
        out_path = str(to) if to else None
        request = ReportRequest(f"{study.resolve()}", run, against, out_path, price, selected)
        # The plain function: a single step does not need Prefect.
        page = build_report.fn(request)
        _print_findings(page)
        print_line(f"Report: {page.path}")
        if is_opened:
            _open_page(Path(page.path))
        _print_next_step(study)
        if fail_on and _is_as_bad(page, fail_on):
            raise typer.Exit(LIMIT_EXIT_CODE)


def _write_history(
    study: Path, last: int, to: Path | None, kind: str, others: dict[str, object], is_opened: bool
) -> None:
    """Write the page of the last runs; options of the report of one run are refused."""
    from fastif import InputError
    from tasks.report.history_page import write_history

    others = others | {f"--format {kind}": None if kind == Format.HTML else kind}
    if given := [name for name, value in others.items() if value is not None]:
        remedy = "Omit --last, or these."
        raise InputError("--last", "no option of the report of one run", ", ".join(given), remedy)
    path = write_history(study.resolve(), last, str(to) if to else None)
    print_line(f"Report: {path}")
    if is_opened:
        _open_page(path)
    print_next("report", study=study)


def _check_is_page(kind: str) -> None:
    """Refuse `--open` for a file that is no page."""
    if kind != Format.HTML:
        from fastif import InputError

        raise InputError("--open", "a report as HTML", f"one as {kind}", "Omit this option.")


def _open_page(path: Path) -> None:
    """Open a page in the default browser; print a sentence where there is none."""
    try:
        is_open = webbrowser.open(path.as_uri())
    except webbrowser.Error:
        is_open = False
    if not is_open:
        print_line("No browser was found here; open the file above in yours.", style="yellow")


def _check_has_limits(study: Path) -> None:
    """Refuse `--fail-on` without a limit, which would never fail."""
    from fastif import InputError
    from tasks.study.study import load_study

    if not load_study(study).report.has_limits:
        raise InputError(
            "--fail-on",
            "limits in the section [report] of the study",
            "none",
            "Set one, such as accuracy_below = 0.85, or omit this option.",
        )


def _print_findings(page: "BuiltReport") -> None:
    """Print what to do, the tests that have a limit, and the summary sentences."""
    lines = [f"{number}. {action}" for number, action in enumerate(page.actions, 1)]
    lines += [
        f"{test.status.upper()}: {test.name} {test.measured}; limit: {test.bound}"
        for test in page.tests
        if test.limit is not None
    ]
    for line in [*lines, *page.headline]:
        out.print(f"  {line}", highlight=False, markup=False)


def _is_as_bad(page: "BuiltReport", fail_on: FailOn) -> bool:
    from tasks.results.limits import SEVERITY, Status, find_worst_status

    worst = find_worst_status(page.tests)
    return SEVERITY.index(worst) >= SEVERITY.index(Status(fail_on.value))


def _print_next_step(study: Path) -> None:
    """Print the comparison with the run before, the search for wrong labels, or their review."""
    loaded, store = open_study(study)
    runs = store.list_runs()
    if runs or loaded.has_audit:
        print_comparison(runs, study, *_suggest_search(store))
    else:
        print_next(*_suggest_search(store), study=study)


def _suggest_search(store: "Store") -> tuple[str, ...]:
    """Return the search for wrong labels, or what follows it if the store has one."""
    from storage.errors import StoreError
    from tasks.mislabels.results import read_latest_result
    from tasks.terminal.mislabels import suggest_step

    try:
        *words, name = suggest_step(read_latest_result(store))
    except StoreError:
        return ("mislabels",)
    return (*words, name_new_file(name))


@app.command()
@takes_study
def export(
    table: Annotated[
        str, typer.Argument(help="Table: scores, solves, queries, train, totals or mislabels.")
    ],
    to: Annotated[
        Path, typer.Option("--out", "-o", help="New .parquet, .csv, .ndjson or .jsonl file.")
    ],
    study: Path = DEFAULT_STUDY,
    run: RunOption = None,
    only: Annotated[
        Path | None,
        typer.Option(
            help="Only rows with an id in the column id of this .csv, .parquet or .jsonl file."
        ),
    ] = None,
) -> None:
    """Export a table of a run as one file, for Polars, pandas or a spreadsheet.

    Scores include ids and labels of queries and training rows. Mislabels as .json are tasks for
    Label Studio.
    """
    with report_errors():
        from tasks.results.export import write_export

        _, store = open_study(study)
        name = None if table == "mislabels" else resolve_run(store, run)
        result = None
        if table == "mislabels":
            from tasks.data.inputs import read_inputs
            from tasks.mislabels.results import read_current_or_latest

            inputs = read_inputs(study, "the table of mislabels")
            result = read_current_or_latest(store, inputs)
            if result.table["text"].to_list() != inputs.train.texts:
                words = "Note: the training table has changed since the search; old rows are given."
                out.print(words, highlight=False)
        written = write_export(store, name, table, to, only, result)
        for note in written.notes:
            out.print(f"Note: {note}.", highlight=False, markup=False, soft_wrap=True)
        print_line(f"Wrote {written.rows:,} rows to {to}.")
        if name is None:
            print_next("runs", study=study)
        else:
            print_next("report", values=[name], study=study)
