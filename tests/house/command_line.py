"""The page of the command line: every command with its help, from Typer."""

import typer
from typer.cli import get_docs_for_click

from flows.cli.app import app
from tests.house.prose import ROOT

PAGE = ROOT / "docs" / "reference" / "cli.md"
HEAD = """# Command line

Written from the help of the commands by `python -m tests.house write`. Exit codes and environment
variables: [environment](environment.md). Words: [glossary](glossary.md).

"""


def render_page() -> str:
    """The page as Markdown."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(
        obj=command, ctx=typer.Context(command, info_name="fastif"), name="fastif"
    )
    _, _, text = text.partition("\n")
    return HEAD + text.strip() + "\n"
