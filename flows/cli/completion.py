"""Completion of names of runs in a shell."""

from pathlib import Path

import typer

from tasks.study.command_lines import DEFAULT_STUDY


def complete_runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """List the runs of the study that begin with what was typed; none if it cannot be read."""
    from tasks.run.existing_store import open_existing_store
    from tasks.run.run_names import LATEST, PREVIOUS
    from tasks.study.study import load_study

    typed = ctx.params.get("study") or ctx.params.get("study_option") or DEFAULT_STUDY
    try:
        names, _ = open_existing_store(load_study(Path(typed))).list_names()
    except Exception:  # a shell that completes shows no errors
        return []
    return [name for name in (*names, LATEST, PREVIOUS) if name.startswith(incomplete)]
