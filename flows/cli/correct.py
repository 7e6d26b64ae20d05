"""Command `fastif correct`: error correction of a model on a failure set."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import out, report_errors
from flows.cli.study_argument import DEFAULT_STUDY, takes_study

app = typer.Typer()
UNIMPROVED = 4
"""Exit code of a correction without an improvement."""


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
    with report_errors():
        from fastif.correction import Correction
        from tasks.correction.correct_model import CorrectionRequest, correct_model
        from tasks.terminal.correction import render_slice_changes

        settings = Correction(steps, rows, rows, pool, learning_rate, by, seed, balanced)
        # The plain function of the task: a single local step needs no Prefect server.
        result = correct_model.fn(
            CorrectionRequest(study.resolve(), anchors, to, source, settings, keep)
        )
    out.print(render_slice_changes(result.slices))
    out.print(result.why, markup=False, highlight=False, soft_wrap=True)
    if result.out:
        out.print(f"Corrected model: {result.out}", markup=False, highlight=False, soft_wrap=True)
    if not result.improved:
        raise typer.Exit(UNIMPROVED)
