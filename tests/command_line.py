"""Commands as they are typed: what they print, and how they end."""

from pathlib import Path

from typer.testing import CliRunner, Result

from flows.cli import app as cli


def invoke(*args: object) -> Result:
    """What became of a command: `output` is all that it printed, `exit_code` how it ended."""
    return CliRunner().invoke(cli.app, [str(arg) for arg in args])


def run(*args: object) -> tuple[int, str, str]:
    """Exit code, output and errors of a command; an exception passes through."""
    result = invoke(*args)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file with its bytes, and every folder."""
    paths = {str(p.relative_to(folder)): p for p in folder.rglob("*")}
    return {name: p.read_bytes() if p.is_file() else None for name, p in paths.items()}


def run_refused(folder: Path, *args: object) -> str:
    """The message of a command that must refuse, having left the folder as it was."""
    before = contents(folder)
    code, out, message = run(*args)
    assert contents(folder) == before
    assert code == 2, (code, out, message)
    assert "Traceback" not in out + message
    assert "Starting Prefect" not in message, "refused only after Prefect was started"
    assert message.startswith("Refused. ")
    return message
