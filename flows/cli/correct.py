"""Command `fastif correct`: error correction of a model on a failure set."""

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.common import out, print_line
from flows.cli.next_step import print_next
from flows.cli.study_argument import DEFAULT_STUDY, takes_study

if TYPE_CHECKING:  # heavy imports are made inside the commands
    from fastif.correction import Correction

app = typer.Typer()
UNIMPROVED = 4
"""Exit code of a correction without an improvement."""
ADVICE = (
    "Worth trying: more anchors (half of them only measure), --balanced if the failures have other "
    "labels than the training rows, fewer --steps or a lower --learning-rate if the queries got "
    "worse."
)


@app.command()
@takes_study
def correct(
    anchors: Annotated[
        Path,
        typer.Option(help="Table of failures to correct, with the columns of [queries]."),
    ],
    to: Annotated[Path, typer.Option("--out", "-o", help="New folder for the corrected model.")],
    study: Path = DEFAULT_STUDY,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Table of rows to learn from; the training rows by default."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Number of gradient steps.")] = 10,
    rows: Annotated[int, typer.Option(min=1, help="Rows per step.")] = 10,
    pool: Annotated[int, typer.Option(min=1, help="Candidate rows ranked per step.")] = 1000,
    learning_rate: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 1e-4,
    by: Annotated[
        str, typer.Option(help="helpful, or as a baseline: harmful, random, anchors.")
    ] = "helpful",
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Match the label distribution of the failures.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Write the model even without an improvement.")
    ] = False,
) -> None:
    """Correct the model by gradient steps on the rows most helpful to a set of failures.

    The method is the error correction of FastIF (Guo et al., 2021, section 6.3). Half of the
    failures are held out. If their loss does not fall significantly, or the queries get worse in
    loss and accuracy, no model is written, and the exit code is 4.
    """
    from fastif.correction import Correction
    from tasks.correction.correct_model import CorrectionRequest, correct_model
    from tasks.terminal.correction import render_slice_changes

    settings = Correction(steps, rows, rows, pool, learning_rate, by, seed, balanced)
    request = CorrectionRequest(study.resolve(), anchors, to, source, settings, keep)
    result = correct_model.fn(request)  # a single local step needs no Prefect server
    out.print(render_slice_changes(result.slices))
    print_line(result.why)
    if result.out:
        print_line(f"Corrected model: {result.out}")
    if not result.improved:
        _advise(anchors, to, source, settings, study)
        raise typer.Exit(UNIMPROVED)
    _suggest_audit(to, study)


def _suggest_audit(model: Path, study: Path) -> None:
    print_next("audit", study=study, before=f"set [model] path to {model.resolve()}")


def _advise(
    anchors: Path, to: Path, source: Path | None, settings: "Correction", study: Path
) -> None:
    """Print the same command with balanced labels; if they are, with smaller or fewer steps."""
    print_line(ADVICE)
    if to.exists():  # written with --keep
        _suggest_audit(to, study)
        return
    changes: dict[str, Any] = {"balanced": True}
    if settings.balanced and settings.steps > 1:
        changes = {"steps": settings.steps // 2}
    elif settings.balanced:
        changes = {"learning_rate": settings.learning_rate / 2}
    settings = replace(settings, **changes)
    options: dict[str, Any] = {"anchors": anchors, "out": to, "from": source}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name not in ("anchors", "balanced") and value != field.default:
            options[field.name.replace("_", "-")] = value
    given = {f"--{name}": f"{value}" for name, value in options.items() if value is not None}
    words = [word for pair in given.items() for word in pair]
    print_next("correct", *words, "--balanced", study=study)
