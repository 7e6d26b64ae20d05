"""Command that writes the corrected training table: `fastif review apply`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.common import out, print_line, report_errors
from flows.cli.next_step import name_main_command, print_next
from flows.cli.study_argument import DEFAULT_STUDY, takes_study
from flows.cli.wrong_targets import apply_targets, has_cells

if TYPE_CHECKING:  # heavy imports are made inside the commands
    from tasks.mislabels.corrected_table import CorrectedRows
    from tasks.study.sections import TrainSource


@takes_study
def apply(
    study: Path = DEFAULT_STUDY,
    to: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="New file of the table, in any format that is read except workbooks; by default "
            "next to the training table, with -clean in the name.",
        ),
    ] = None,
    drop_duplicates: Annotated[
        bool,
        typer.Option(
            "--drop-duplicates",
            help="Drop exact duplicates with the same corrected label; the first one stays.",
        ),
    ] = False,
    drop_leaks: Annotated[
        bool, typer.Option("--drop-leaks", help="Drop training rows that are verbatim queries.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would change; write nothing.")
    ] = False,
) -> None:
    """Write the training table with the imported annotations applied, and a change log.

    Rows get the right label; rows that no label fits are dropped. Rows on which reviewers disagree
    stay as they are. All columns, their types and the order of the rows are kept, and labels are
    written as the table writes them. The change log next to the table (NAME.changes.csv) has a line
    for each changed row: label before and after, reviewer, time of the import, and reason.

    Existing files are not overwritten, and the study file is not changed: the last lines say which
    line to change.
    """
    with report_errors():
        drops = {"--drop-duplicates": drop_duplicates, "--drop-leaks": drop_leaks}
        options = [option for option, is_set in drops.items() if is_set]
        (apply_targets if has_cells(study) else _apply)(study, to, options, dry_run)


def _apply(study: Path, to: Path | None, drops: list[str], dry_run: bool) -> None:
    """Correct the table and print what changes; write it unless it is a dry run."""
    from tasks.mislabels.corrected_files import check_corrected_table, name_corrected_table
    from tasks.mislabels.corrected_table import correct_rows, find_store, write_corrected
    from tasks.study.study import load_study

    loaded = load_study(study)
    path = to or _shorten(name_corrected_table(loaded))
    if to is not None:
        check_corrected_table(loaded, path)  # before the work
    store = find_store(loaded)
    corrected = correct_rows(study, store, "--drop-duplicates" in drops, "--drop-leaks" in drops)
    _print_changes(corrected)
    if not corrected.correction.changes:
        print_line("No row changes, so no table was written.")
        print_next(name_main_command(loaded), study=study)
    elif dry_run:
        print_line("Nothing was written.")
        print_next("review", "apply", *drops, "--out", str(path), study=study)
    else:
        check_corrected_table(loaded, path)
        _print_written(corrected, write_corrected(corrected, path), path, study)


def _print_changes(corrected: "CorrectedRows") -> None:
    from tasks.terminal.corrections import describe_unchanged, render_changes

    correction = corrected.correction
    if correction.changes:
        out.print(render_changes(correction))
    for line in describe_unchanged(correction, corrected.inputs.train.ids):
        print_line(line)


def _shorten(path: Path) -> Path:
    """The path relative to the current folder, if it is in it."""
    return Path(os.path.relpath(path)) if path.is_relative_to(Path.cwd()) else path


def _print_written(
    corrected: "CorrectedRows", source: "TrainSource", path: Path, study: Path
) -> None:
    """Print the files, the lines of the study to change, and the next command."""
    from tasks.mislabels.corrected_files import name_log
    from tasks.mislabels.corrected_table import describe_study_change

    loaded, correction = corrected.inputs.study, corrected.correction
    before = len(correction.labels)
    after = before - len(correction.dropped)
    print_line(f"Rows written: {after:,} of {before:,}, to {path}; changes, to {name_log(path)}.")
    for line in describe_study_change(loaded, source):
        print_line(line)
    has_training = loaded.training is not None
    command = "train" if has_training else name_main_command(loaded)
    print_next(command, study=study, before="change the study file")
    if has_training:
        print_next(name_main_command(loaded), study=study, before="after the training")
