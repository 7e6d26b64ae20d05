"""The command for researchers: `fastif reproduce`."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markdown import Markdown
from rich.table import Table

from flows.cli.common import out, refusals

app = typer.Typer()


@app.command()
def reproduce(
    name: Annotated[
        str | None, typer.Argument(help="The experiment; all are listed without.")
    ] = None,
    scale: Annotated[
        Literal["small", "full"], typer.Option(help="small (minutes) or full.")
    ] = "small",
    to: Annotated[Path, typer.Option("--out", "-o", help="Folder of results and steps.")] = Path(
        "reproductions"
    ),
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the public data sets.", envvar="FASTIF_DATA"),
    ] = None,
) -> None:
    """Do an experiment of the sources again: a table with their numbers beside ours, and plots.

    What was stopped goes on with its steps.
    """
    with refusals():
        from tasks.experiments.registry import ALSO, CATALOGUE, named
        from tasks.experiments.run import checked

        if name is None:
            table = Table("experiment", "what", "source", "needs")
            for each, one in CATALOGUE.items():
                others = [other for other, of in ALSO.items() if of == each]
                names = f"{each} ({', '.join(others)})" if others else each
                table.add_row(names, one.title, one.source, ", ".join(one.needs) or "nothing")
            out.print(table)
            return
        name = named(name)
        checked(name, scale, to, data)  # refused before Prefect starts
        from flows.reproduce import reproduce as flow

        folder = Path(flow(name, scale, str(to), str(data) if data else None))
        out.print(Markdown((folder / "result.md").read_text("utf-8")))
        out.print(f"Result: {folder}", markup=False, highlight=False, soft_wrap=True)
