"""The command `fastif reproduce`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.common import out, report_errors

app = typer.Typer()


@app.command()
def reproduce(
    name: Annotated[
        str | None, typer.Argument(help="Name of the experiment; without it all are listed.")
    ] = None,
    scale: Annotated[
        Literal["small", "full"], typer.Option(help="small (minutes) or full (as published).")
    ] = "small",
    to: Annotated[Path, typer.Option("--out", "-o", help="Folder of results and steps.")] = Path(
        "reproductions"
    ),
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the public data sets.", envvar="FASTIF_DATA"),
    ] = None,
) -> None:
    """Reproduce a published experiment: plots, and a table next to the published numbers.

    An interrupted experiment continues with its next step.
    """
    with report_errors():
        from rich.markdown import Markdown
        from rich.table import Table

        from tasks.experiments.registry import ALIASES, EXPERIMENTS, resolve_name
        from tasks.experiments.run import check_experiment

        if name is None:
            table = Table("experiment", "title", "paper", "data sets")
            for key, experiment in EXPERIMENTS.items():
                aliases = [alias for alias, target in ALIASES.items() if target == key]
                names = f"{key} ({', '.join(aliases)})" if aliases else key
                table.add_row(
                    names,
                    experiment.title,
                    experiment.source,
                    ", ".join(experiment.datasets) or "nothing",
                )
            out.print(table)
            return
        name = resolve_name(name)
        check_experiment(name, scale, to, data)  # report errors before Prefect starts
        from flows.reproduce import reproduce as flow

        folder = Path(flow(name, scale, str(to), str(data) if data else None))
        out.print(Markdown((folder / "result.md").read_text("utf-8")))
        out.print(f"Result: {folder}", markup=False, highlight=False, soft_wrap=True)
