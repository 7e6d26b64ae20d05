"""Every command of the documentation exists, with the options that it is given."""

import importlib.util
import re
import shlex
import tomllib

import pytest
import typer
from typer.core import TyperGroup

from flows.cli.app import app
from tests.docs.blocks import FENCE, PAGES, ROOT, Block, list_blocks

GENERATED = {"docs/reference/cli.md", "docs/development/modules.md"}
"""Pages written from help and docstrings, with placeholders in their commands."""
SHELL = {"export", "source", ".", "docker", "git", "prefect"}
"""Commands of the shell and of other programs, which are not checked."""
OTHER_OPTIONS = {
    "--protocol",
    "--resources",
    "--port",
    "--scale",
    "--data",
    "--development",
    "--emotions",
}
"""Options of other programs, and of benchmarks, that sentences name."""
COMMANDS = typer.main.get_command(app)
UsageError = typer.BadParameter.__base__
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "optional-dependencies"
]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def _list_lines(block: Block) -> list[str]:
    """Lines that are typed: all of a shell block, those after a `$` of an output."""
    lines = block.code.replace("\\\n", " ").splitlines()
    if block.language != "sh":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [line for line in lines if shlex.split(line, comments=True)]


def check_line(line: str) -> None:
    """Raise if a line of a shell block cannot work."""
    words = shlex.split(line, comments=True)
    program = words[0].removeprefix(".venv/bin/")
    if program == "fastif":
        check_command(words[1:])
    elif program == "make":
        targets = [word for word in words[1:] if "=" not in word]
        assert set(targets) <= TARGETS, f"not a target of the Makefile: {line}"
    elif program in ("pip", "python", "python3") and words[1] == "-m":
        assert words[2] == "venv" or importlib.util.find_spec(words[2]), f"no such module: {line}"
    elif program == "python":
        assert (ROOT / words[1]).is_file(), f"no such file: {line}"
    elif program == "pip":
        extras = re.findall(r"\[([\w,-]+)\]", line)
        assert set(",".join(extras).split(",")) <= {*EXTRAS, ""}, f"no such extra: {line}"
    else:
        assert program in SHELL or "=" in program, f"unknown program: {line}"


def check_command(words: list[str], *, is_complete: bool = True) -> None:
    """Raise if `fastif` has no such command or option, or a complete command lacks an argument."""
    command, context = COMMANDS, typer.Context(COMMANDS, info_name="fastif")
    while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        name, command, words = command.resolve_command(context, words)
        context = typer.Context(command, info_name=name, parent=context)
    assert not (is_complete and isinstance(command, TyperGroup)), f"no command: {words}"
    command.make_context(
        context.info_name, words, parent=context.parent, resilient_parsing=not is_complete
    )


BLOCKS = [b for b in list_blocks("sh", "console", "text", "") if b.page not in GENERATED]
WRITTEN = sorted({str(page.relative_to(ROOT)) for page in PAGES} - GENERATED)
TYPED = [block for block in BLOCKS if _list_lines(block)]


@pytest.mark.parametrize("block", TYPED, ids=lambda block: block.place)
def test_commands_of_blocks_exist(block):
    for line in _list_lines(block):
        check_line(line)


@pytest.mark.parametrize("page", WRITTEN)
def test_commands_in_sentences_exist(page):
    text = FENCE.sub("", (ROOT / page).read_text("utf-8"))
    for quoted in re.findall(r"`(fastif [a-z][^`\n]*)`", text):
        check_command(shlex.split(quoted)[1:], is_complete=False)


def list_options(command: object) -> set[str]:
    """Return the options of a command and of all below it."""
    names = {name for parameter in command.params for name in parameter.opts}
    below = command.commands.values() if isinstance(command, TyperGroup) else ()
    return names.union(*map(list_options, below))


@pytest.mark.parametrize("page", WRITTEN)
def test_options_in_sentences_exist(page):
    text = FENCE.sub("", (ROOT / page).read_text("utf-8"))
    assert set(re.findall(r"`(--[a-z][a-z-]+)", text)) <= list_options(COMMANDS) | OTHER_OPTIONS


@pytest.mark.parametrize(
    "line",
    [
        "fastif audits study.toml",
        "fastif audit study.toml --dry-runs",
        "fastif top",
        "fastif review",
        "make audits",
        "python -m tests.fuzzy",
        "pip install 'fastif[dusk]'",
        "conda install fastif",
    ],
)
def test_wrong_commands_are_found(line):
    with pytest.raises((AssertionError, UsageError, ModuleNotFoundError)):
        check_line(line)
