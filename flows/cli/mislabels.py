"""Commands of mislabel detection: `fastif mislabels`, `fastif review ...`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from flows.cli.apply import apply
from flows.cli.common import (
    err,
    open_study,
    out,
    print_line,
    report_errors,
)
from flows.cli.next_step import name_new_file, print_next
from flows.cli.study_argument import DEFAULT_STUDY, takes_study
from flows.cli.wrong_targets import export_targets, has_cells, import_targets, search_targets
from tasks.study.command_lines import format_command

if TYPE_CHECKING:
    from tasks.mislabels.detection_plan import DetectionPlan
    from tasks.mislabels.review_export import ReviewExport

app = typer.Typer()
review = typer.Typer(
    help="Export suspicious labels for human review, and import the annotations.",
    no_args_is_help=True,
)
app.add_typer(review, name="review")


@app.command()
@takes_study
def mislabels(
    study: Path = DEFAULT_STUDY,
    shown: Annotated[int, typer.Option("-k", min=1, help="Number of rows to show.")] = 10,
    validate: Annotated[
        int,
        typer.Option(
            min=0, help="Retrain N times per cleaning strategy, and report the accuracy gain."
        ),
    ] = 0,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Validate the input and forecast the cost; write nothing."),
    ] = False,
) -> None:
    """Rank the training rows by how doubtful their labels are, with evidence.

    The probability is from cross-fitted classifiers and a noise transition matrix; no true labels
    are needed. Trusted rows ([queries] trusted = true) improve the ranking, and a random audit
    sample (fastif review export --random 100) estimates the number of wrong labels. Text embeddings
    are cached: a later detection encodes new texts only.
    """
    with report_errors():
        if has_cells(study):
            return search_targets(study, shown, validate, dry_run)
        from tasks.mislabels.detect import detect_mislabels
        from tasks.mislabels.detection_plan import read_detection_plan, warn_encoder
        from tasks.mislabels.label_statement import read_label_statement
        from tasks.mislabels.results import read_result, with_groups
        from tasks.run.spec import open_existing_store
        from tasks.study.study import load_study
        from tasks.terminal.mislabels import render_mislabels, suggest_step

        plan = read_detection_plan(study)
        warning = warn_encoder(plan.inputs.study)
        if warning:
            err.print(warning, style="yellow", markup=False, highlight=False, soft_wrap=True)
        if dry_run:
            _print_forecast(plan, study)
            return
        # The plain function of the task: a single local step needs no Prefect server. By the same
        # path, or the table would be read and held twice.
        digest = detect_mislabels.fn(str(study))
        store = open_existing_store(load_study(study))
        result = with_groups(read_result(store, digest), plan.inputs)
        out.print(render_mislabels(result, read_label_statement(store, result.facts), shown))
        if validate:
            from tasks.mislabels.cleaning_gain import compare_cleaning, render_comparison

            out.print(render_comparison(compare_cleaning(study, result, validate)))
        *words, name = suggest_step(result)
        print_next(*words, name_new_file(name), study=study)


def _print_forecast(plan: "DetectionPlan", study: Path) -> None:
    from tasks.mislabels.forecast import forecast_mislabels

    expected = forecast_mislabels(plan)
    notice = "The result is in the store already; nothing would be computed."
    out.print(notice if expected is None else f"{expected}", highlight=False)
    print_next("mislabels", study=study)


@review.command()
@takes_study
def export(
    to: Annotated[Path, typer.Option("--out", "-o", help="New .csv, .parquet or .json file.")],
    study: Path = DEFAULT_STUDY,
    budget: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of rows, certain ones included; by default up to [mislabels] budget rows "
            "with a score of 0.01 or more.",
        ),
    ] = None,
    random: Annotated[
        int | None,
        typer.Option(min=1, help="Size of a random audit sample, instead of the top-ranked rows."),
    ] = None,
    order: Annotated[
        Literal["doubt", "gain"] | None,
        typer.Option(
            help="Order of the rows: by how doubtful the label is (default), or by "
            "the expected gain in accuracy of a classifier that is trained on the reviewed labels.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Export the most suspicious labels for human review; near-duplicates are one row.

    With --order gain, the first rows are those whose annotation is expected to lower the loss of a
    linear classifier most: a probable error that the classifier learns from, and not only a
    probable error. The loss is measured on [queries], which should be labelled correctly; without
    queries of every label, on the training rows with their probable labels.

    With --random 100 the file is a random audit sample, more of it where wrong labels are expected,
    without suggestions. Its annotations estimate the number of wrong labels, in all, by label and
    by group, with 90 % intervals that hold after every annotation. Annotate the rows in the order
    of the file. At least 30 are needed, 100 are better.

    Fill in the column right_label: the given label if it is right, "none" if no label fits. Fill in
    reviewer if there are several. Do not change the column row. A .json file has tasks for Label
    Studio.
    """
    with report_errors():
        from fastif import InputError
        from tasks.mislabels.review_export import export_review

        if random and (budget or order):
            what = "--budget or --random" if budget else "--order or --random"
            change = "Export two files: suspicious rows, and a random sample."
            raise InputError(what, "one of them", "both", change)
        if has_cells(study):
            export_targets(study, to, budget, random, order)
            return
        loaded, store = open_study(study)
        exported = export_review(study, store, to, budget, random, order or "doubt")
        _print_export(exported, to, study, loaded.labels)


def _print_export(exported: "ReviewExport", to: Path, study: Path, labels: Sequence[str]) -> None:
    """Print what was exported, and how to go on."""
    from tasks.mislabels.label_studio import make_label_config

    note = f"Rows to review: {exported.rows}, in {to}, {exported.order}."
    if exported.left_out:
        note += (
            f" Left out: {exported.left_out} rows with hardly any evidence against their labels "
            f"(--budget {exported.rows + exported.left_out} writes them too)."
        )
    out.print(note, highlight=False, markup=False, soft_wrap=True)
    words = "fill in the column right_label"
    if to.suffix == ".json":
        to = Path(name_new_file(f"{to.with_stem(f'{to.stem}-annotated')}"))
        words = f"annotate in Label Studio and save its export as {to}"
        config = make_label_config(labels)
        out.print(f"Label Studio labelling interface: {config}", markup=False, soft_wrap=True)
    print_next("review", "import", values=[to], study=study, before=words)


@review.command("import")
@takes_study
def import_(
    verdicts: Annotated[
        Path,
        typer.Argument(
            help="Filled-in .csv, .tsv, .parquet or .json file, or a Label Studio export."
        ),
    ],
    study: Path = DEFAULT_STUDY,
) -> None:
    """Import annotations; the next detection uses them."""
    with report_errors():
        if has_cells(study):
            import_targets(study, verdicts)
            return
        from tasks.data.inputs import read_inputs
        from tasks.mislabels.annotation_import import import_annotations
        from tasks.mislabels.label_statement import read_label_statement
        from tasks.mislabels.results import read_current_or_latest

        _, store = open_study(study)
        inputs = read_inputs(study, "`fastif review`")
        table = read_current_or_latest(store, inputs).table
        when = datetime.now(UTC).isoformat()
        imported = import_annotations(store, inputs.study, inputs.train, table, verdicts, when)
        for note in imported.notes:
            out.print(f"Note: {note}.", markup=False, soft_wrap=True, highlight=False)
        for problem in imported.refused:
            out.print(f"Not imported:\n{problem}", markup=False, soft_wrap=True, highlight=False)
        out.print(f"Rows with imported annotations: {imported.rows}.", highlight=False)
        precision = read_label_statement(store, None).review_sentence
        if precision:
            print_line(precision)
        if imported.rows:
            command = format_command("review", "apply", "--dry-run", study=study)
            print_line(f"The corrected training table: {command}")
        print_next("mislabels", study=study)


@review.command()
@takes_study
def conflicts(study: Path = DEFAULT_STUDY) -> None:
    """List rows on which reviewers disagree; a detection ignores their annotations."""
    with report_errors():
        from tasks.data.inputs import read_inputs
        from tasks.data.row_hashes import row_digests
        from tasks.mislabels.annotations import read_annotations
        from tasks.mislabels.review_export import list_conflicts

        loaded, store = open_study(study)
        train = read_inputs(study, "`fastif review`").train
        merged = read_annotations(store, train, loaded.labels)
        digests = row_digests(train, loaded.labels)
        table = Table("id", "label", "reviewers")
        for row in list_conflicts(merged, train.ids, digests, loaded.labels).iter_rows():
            table.add_row(*map(Text, row))
        out.print(table if table.row_count else "Reviewers agree on every row.")
        print_next("mislabels", study=study)


review.command()(apply)
