"""The commands about wrong labels: `fastif mislabels`, `fastif review ...`."""

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from flows.cli.common import (
    StudyOption,
    open_study,
    out,
    report_errors,
)

app = typer.Typer()
review = typer.Typer(
    help="Give suspicious labels to people, and take their verdicts back.", no_args_is_help=True
)
app.add_typer(review, name="review")


@app.command()
def mislabels(
    study: Annotated[Path, typer.Argument(help="The study file (TOML).")],
    shown: Annotated[int, typer.Option("-k", min=1, help="Rows to show.")] = 10,
    validate: Annotated[
        int,
        typer.Option(min=0, help="Train again so many times a way, to see what cleaning is worth."),
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and forecast the cost; no writing.")
    ] = False,
) -> None:
    """Rank the training rows by the probability that their label is wrong, and say why.

    Needs no true labels; rows of certain label ([queries] trusted = true) make it far better. What
    was read before is kept: the next time only new texts are.
    """
    with report_errors():
        from tasks.mislabels.detect import detect_mislabels
        from tasks.mislabels.detection_plan import read_detection_plan
        from tasks.mislabels.results import read_result
        from tasks.run.spec import open_existing_store
        from tasks.study.study import load_study
        from tasks.terminal.mislabels import render_mislabels

        if dry_run:
            from tasks.mislabels.forecast import forecast_mislabels

            expected = forecast_mislabels(read_detection_plan(study))
            notice = "Everything is there already; it would only be shown."
            out.print(notice if expected is None else f"{expected}", highlight=False)
            return
        # The task's own function: one step on one machine gains nothing from Prefect's start.
        digest = detect_mislabels.fn(str(study.resolve()))
        result = read_result(open_existing_store(load_study(study)), digest)
        out.print(render_mislabels(result, study, shown))
        if validate:
            from tasks.mislabels.cleaning_gain import compare_cleaning, render_comparison

            out.print(render_comparison(compare_cleaning(study, result, validate)))


@review.command()
def export(
    to: Annotated[Path, typer.Option("--out", "-o", help="A new .csv, .parquet or .json file.")],
    study: StudyOption = Path("study.toml"),
    budget: Annotated[
        int | None, typer.Option(min=1, help="Decisions; [mislabels] budget if left out.")
    ] = None,
    random: Annotated[
        int | None,
        typer.Option(min=1, help="Draw so many rows at random instead of the most suspicious."),
    ] = None,
) -> None:
    """Write the most suspicious rows for people to look at, rows that are alike as one decision.

    With --random 100 the verdicts tell how many labels are wrong in all, whatever the errors are
    like, and how far each probability may be believed. Thirty verdicts or more are needed.

    Fill in right_label (the given label if it is right, "none" if no label fits), and reviewer if
    several people look; leave the column row as it is. A .json file is for Label Studio.
    """
    with report_errors():
        from fastif import InputError
        from tasks.mislabels.label_studio import make_label_config
        from tasks.mislabels.review_export import export_review

        if random and budget:
            what = "--budget or --random", "one of them", "both"
            raise InputError(*what, "Export twice: suspicious rows, and rows drawn at random.")
        loaded, store = open_study(study)
        count = export_review(study, store, to, budget or loaded.mislabels.budget, random)
        out.print(f"{count} decisions in {to}.", highlight=False, markup=False, soft_wrap=True)
        if to.suffix == ".json":
            config = make_label_config(loaded.labels)
            out.print(f"Labelling interface: {config}", markup=False, soft_wrap=True)


@review.command("import")
def import_(
    verdicts: Annotated[Path, typer.Argument(help="The file, filled in.")],
    study: StudyOption = Path("study.toml"),
) -> None:
    """Take verdicts back: they are kept, and the next search learns from them."""
    with report_errors():
        from tasks.data.inputs import read_inputs
        from tasks.mislabels.annotation_import import import_annotations
        from tasks.mislabels.results import read_current_or_latest

        _, store = open_study(study)
        inputs = read_inputs(study)
        table = read_current_or_latest(store, inputs).table
        when = datetime.now(UTC).isoformat()
        kept = import_annotations(store, inputs.study, inputs.train, table, verdicts, when)
        for note in kept.notes:
            out.print(f"Note: {note}.", markup=False, soft_wrap=True, highlight=False)
        for problem in kept.refused:
            out.print(f"Not kept:\n{problem}", markup=False, soft_wrap=True, highlight=False)
        next_step = f"Next: fastif mislabels {shlex.quote(str(study))}"
        out.print(
            f"Verdicts on {kept.rows} rows are kept. {next_step}", markup=False, soft_wrap=True
        )


@review.command()
def conflicts(study: StudyOption = Path("study.toml")) -> None:
    """Show the rows on which reviewers disagree; they are not used until they agree."""
    with report_errors():
        from tasks.data.inputs import read_inputs
        from tasks.data.row_hashes import row_digests
        from tasks.mislabels.annotations import read_annotations
        from tasks.mislabels.review_export import list_conflicts as disputed

        loaded, store = open_study(study)
        train = read_inputs(study).train
        known = read_annotations(store, train, loaded.labels)
        digests = row_digests(train, loaded.labels)
        table = Table("id", "label", "reviewers")
        for row in disputed(known, train.ids, digests, loaded.labels).iter_rows():
            table.add_row(*map(Text, row))
        out.print(table if table.row_count else "Reviewers agree on every row.")
