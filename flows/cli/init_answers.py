"""Questions of `fastif init` in a terminal: numbered choices, the best guess first."""

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from flows.cli.common import out

if TYPE_CHECKING:  # heavy imports are made inside the commands
    from tasks.onboarding.questions import Question

STEPS = (
    ("Folder of the trained model (empty: search for wrong labels without a model)", True),
    ("File of the training table (.parquet, .csv, .jsonl)", False),
    ("File of the queries: labelled examples to explain (empty: none)", True),
)


class TerminalAnswers:
    """Answers of the person at the terminal."""

    are_certain = True

    def choose(self, question: "Question") -> int:
        """Print numbered options and return the position of the chosen one."""
        print_text(f"{question.key}: {question.prompt}", "bold")
        for number, option in enumerate(question.options, 1):
            print_text(f"  {number}  {option}")
        while True:
            number = typer.prompt("Number", default=1, type=int)
            if 1 <= number <= len(question.options):
                return number - 1
            print_text(f"Type a number from 1 to {len(question.options)}.", "yellow")


def ask_arguments() -> list[str]:
    """Ask for model and tables one after the other, with completion of paths."""
    words = []
    with _complete_paths():
        for prompt, is_optional in STEPS:
            words.append(_ask_path(prompt, is_optional))
    return [word for word in words if word]


def print_text(text: str, style: str = "") -> None:
    """Print a text of the user's tables without markup."""
    out.print(Text(text, style=style), highlight=False, soft_wrap=True)


def _ask_path(prompt: str, is_optional: bool) -> str:
    """Ask for a path until there is something at it."""
    while True:
        word = input(f"{prompt}: ").strip().strip("\"'")
        path = Path(word).expanduser()
        if (not word and is_optional) or word.startswith("hub:"):
            return word
        if word and path.exists():
            return str(path)
        print_text(f"Nothing at {word!r}." if word else "A table is needed.", "yellow")


@contextmanager
def _complete_paths() -> Iterator[None]:
    """Complete paths by the tab key, where the terminal supports it."""
    try:
        import readline
    except ImportError:  # Windows
        yield
        return
    before = readline.get_completer(), readline.get_completer_delims()
    readline.set_completer(_complete)
    readline.set_completer_delims("")
    readline.parse_and_bind("tab: complete")
    try:
        yield
    finally:
        readline.set_completer(before[0])
        readline.set_completer_delims(before[1])


def _complete(text: str, state: int) -> str | None:
    options = sorted(glob.glob(f"{glob.escape(text)}*"))
    options = [f"{option}/" if Path(option).is_dir() else option for option in options]
    return options[state] if state < len(options) else None
