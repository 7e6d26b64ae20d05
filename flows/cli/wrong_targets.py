"""Commands of mislabel detection for several labels a row and for numbers."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from flows.cli.common import err, open_study, out, print_line
from flows.cli.next_step import name_main_command, name_new_file, print_next
from tasks.study.command_lines import format_command

if TYPE_CHECKING:  # heavy imports are made inside the commands
    from tasks.wrong_targets.corrected_targets import CorrectedTargets

SHOWN_CHANGES = 10


def has_cells(study: Path) -> bool:
    """Whether the targets of a study are several labels a row, or numbers."""
    from tasks.study.study import load_study
    from tasks.study.target_kind import MULTI_LABEL, NUMBER

    return load_study(study).target in (MULTI_LABEL, NUMBER)


def refuse_option(option: str, is_set: object) -> None:
    """Refuse an option that only a search among classes has.

    Raises:
        InputError: The option is set.
    """
    from fastif import InputError

    if is_set:
        got, remedy = "targets of another kind", "Leave the option out."
        raise InputError(option, "a study of one class a row", got, remedy)


def search_targets(study: Path, shown: int, validate: int, dry_run: bool) -> None:
    """Rank the targets of a study by how doubtful they are, and print the first ones."""
    from tasks.mislabels.detection_plan import warn_encoder
    from tasks.run.spec import open_existing_store
    from tasks.terminal.wrong_targets import render_wrong_targets
    from tasks.wrong_targets.search import search_wrong_targets
    from tasks.wrong_targets.stored_searches import read_search
    from tasks.wrong_targets.target_plan import read_target_plan

    refuse_option("--validate", validate)
    plan = read_target_plan(study)
    warning = warn_encoder(plan.study)
    if warning:
        err.print(warning, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if dry_run:
        rows, outputs = len(plan.inputs.train), len(plan.study.labels)
        print_line(f"Valid: {rows:,} rows, {outputs:,} targets each. Nothing was written.")
        print_next("mislabels", study=study)
        return
    digest = search_wrong_targets(study)
    search = read_search(open_existing_store(plan.study), digest)
    out.print(render_wrong_targets(search, plan.cells, shown))
    print_next("review", "export", "--out", name_new_file("review.csv"), study=study)


def export_targets(
    study: Path, to: Path, budget: int | None, random: int | None, order: str | None
) -> None:
    """Export doubtful targets, or a random audit sample, for human review."""
    from tasks.wrong_targets.review_cells import export_cells
    from tasks.wrong_targets.target_plan import read_target_plan

    refuse_option("--order gain", order == "gain")
    _, store = open_study(study)
    exported = export_cells(read_target_plan(study), store, to, budget, random)
    note = f"Targets to review: {exported.cells}, in {to}."
    if exported.left_out:
        note += f" Left out: {exported.left_out}, with hardly any evidence against them."
    print_line(note)
    words = "fill in the column right_label"
    print_next("review", "import", values=[to], study=study, before=words)


def import_targets(study: Path, verdicts: Path) -> None:
    """Import annotations of targets; the next search uses them."""
    from tasks.wrong_targets.review_cells import import_cells
    from tasks.wrong_targets.target_plan import read_target_plan

    _, store = open_study(study)
    when = datetime.now(UTC).isoformat()
    imported = import_cells(read_target_plan(study), store, verdicts, when)
    for note in imported.notes:
        print_line(f"Note: {note}.")
    for problem in imported.refused:
        print_line(f"Not imported:\n{problem}")
    print_line(f"Targets with imported annotations: {imported.rows}.")
    command = format_command("review", "apply", "--dry-run", study=study)
    print_line(f"The corrected training table: {command}")
    print_next("mislabels", study=study)


def apply_targets(study: Path, to: Path | None, drops: list[str], dry_run: bool) -> None:
    """Print the changed targets, and write the corrected table unless it is a dry run."""
    from tasks.mislabels.corrected_files import (
        check_corrected_table,
        name_corrected_table,
        name_log,
    )
    from tasks.mislabels.corrected_table import describe_study_change
    from tasks.wrong_targets.corrected_targets import correct_targets, write_targets
    from tasks.wrong_targets.target_plan import read_target_plan

    refuse_option(" and ".join(drops), drops)
    plan = read_target_plan(study)
    path = to or name_corrected_table(plan.study)
    if to is not None:
        check_corrected_table(plan.study, path)  # before the work
    corrected = correct_targets(plan)
    _print_changes(corrected)
    if corrected.changes.is_empty():
        print_line("No target changes, so no table was written.")
        print_next(name_main_command(plan.study), study=study)
    elif dry_run:
        print_line("Nothing was written.")
        print_next("review", "apply", "--out", str(path), study=study)
    else:
        check_corrected_table(plan.study, path)
        source = write_targets(corrected, path)
        rows = len(plan.inputs.train)
        print_line(f"Rows written: {rows:,}, to {path}; changes, to {name_log(path)}.")
        for line in describe_study_change(plan.study, source):
            print_line(line)
        print_next(name_main_command(plan.study), study=study, before="change the study file")


def _print_changes(corrected: "CorrectedTargets") -> None:
    changes = corrected.changes
    print_line(f"Changed targets: {len(changes):,}, in {changes['train'].n_unique():,} rows.")
    for change in changes.head(SHOWN_CHANGES).iter_rows(named=True):
        words = f"{change['before']} becomes {change['after']}"
        print_line(f"  {change['id']}, {change['name']}: {words}")
    if len(changes) > SHOWN_CHANGES:
        print_line(f"  and {len(changes) - SHOWN_CHANGES:,} more")
    if corrected.confirmed:
        print_line(f"Reviewed, and right as they are: {corrected.confirmed:,}.")
    if corrected.conflicts:
        print_line(f"Reviewers disagree on {corrected.conflicts:,}; these stay as they are.")
