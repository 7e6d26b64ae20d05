"""Groups of the commands in `fastif --help`: those of the first day apart from the others."""

from typing import Any

from typer.core import TyperGroup

PANELS = {
    "The first day": ("init", "audit", "mislabels", "report"),
    "Results": ("runs", "top", "show", "diff", "bisect", "export", "urgent", "flip"),
    "Labels and models": ("review", "spans", "train", "correct"),
    "Installation and store": ("doctor", "verify", "gc"),
    "Nightly runs": ("up", "down"),
    "Research": ("reproduce",),
}
"""Names of the commands by panel, in the order of the help."""


class CommandGroup(TyperGroup):
    """Commands in the order and under the headings of `PANELS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List the names of the commands in the order of the panels."""
        ordered = [name for names in PANELS.values() for name in names]
        known = super().list_commands(ctx)
        return [*(n for n in ordered if n in known), *(n for n in known if n not in ordered)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command with the heading of its panel."""
        command = super().get_command(ctx, cmd_name)
        for panel, names in PANELS.items():
            if cmd_name in names and command is not None:
                command.rich_help_panel = panel  # type: ignore[attr-defined]
        return command
