"""The command that repairs a model: `fastif correct`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import out, report_errors

app = typer.Typer()
UNIMPROVED = 4
"""Exit code of a repair that is no improvement."""


@app.command()
def correct(
    study: Annotated[Path, typer.Argument(help="The study file (TOML).")],
    anchors: Annotated[
        Path,
        typer.Option(help="Examples of what goes wrong, as [queries]."),
    ],
    to: Annotated[Path, typer.Option("--out", "-o", help="A new folder for the model.")],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Rows to learn from; the training rows by default."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Gradient steps.")] = 10,
    rows: Annotated[int, typer.Option(min=1, help="Rows of a step.")] = 10,
    pool: Annotated[int, typer.Option(min=1, help="Rows looked at for a step.")] = 1000,
    learning_rate: Annotated[float, typer.Option(help="Of Adam.")] = 1e-4,
    by: Annotated[
        str, typer.Option(help="helpful; to compare: harmful, random, anchors.")
    ] = "helpful",
    balanced: Annotated[
        bool, typer.Option("--balanced", help="As many rows of each label as among the anchors.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
    keep: Annotated[
        bool, typer.Option("--keep", help="Write the model even if it is no improvement.")
    ] = False,
) -> None:
    """Repair the model with the rows that would help the anchors most, and check it on others.

    Half of the anchors are held out. If these do not gain, or all queries lose, no model is
    written, and the exit code is 4.
    """
    with report_errors():
        from fastif.correction import Correction
        from tasks.correction.correct_model import CorrectionRequest, correct_model
        from tasks.terminal.correction import render_slice_changes

        how = Correction(steps, rows, rows, pool, learning_rate, by, seed, balanced)
        # The task's own function: one step on one machine gains nothing from Prefect's start.
        repair = correct_model.fn(
            CorrectionRequest(study.resolve(), anchors, to, source, how, keep)
        )
    out.print(render_slice_changes(repair.slices))
    out.print(repair.why, markup=False, highlight=False, soft_wrap=True)
    if repair.out:
        out.print(f"The model: {repair.out}", markup=False, highlight=False, soft_wrap=True)
    if not repair.improved:
        raise typer.Exit(UNIMPROVED)
