"""Control characters of the data are shown on the terminal, not executed."""

import io

import pytest
from rich.table import Table
from rich.text import Text

from flows.terminal import InertConsole

HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b31m\r\x08\u202ereversed"


def _in_a_table(text):
    table = Table("id", "text")
    table.add_row(Text(text), text)
    return table


@pytest.mark.parametrize("shown", [str, Text, _in_a_table])
def test_control_characters_are_shown(shown):
    console = InertConsole(file=io.StringIO(), force_terminal=False, width=100)
    console.print(shown(HOSTILE), markup=False)
    printed = console.file.getvalue()
    assert not set(printed) & set("\x1b\x07\x9b\r\x08\u202e")
    assert "␛" in printed
    assert "title" in printed


def test_styles_of_our_own_stay():
    console = InertConsole(file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print("[bold]fine[/]")
    assert "\x1b[1mfine\x1b[0m" in console.file.getvalue()
