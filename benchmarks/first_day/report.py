"""Page of the first day: times and decisions, and every command with its output."""

import re

from benchmarks.page import ResultPage, bullets, describe_machine, fold, format_goal, table

GOAL_MINUTES, GOAL_DECISIONS = 15, 3
RESULTS = ("audit", "mislabels")
"""Commands with the first result: the influence audit, or the search for wrong labels."""


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page of the first day."""
    days = result["days"]
    rows = [_make_row(day) for day in days.values()]
    slowest = max(days.values(), key=count_seconds)
    minutes = count_seconds(slowest) / 60
    most = max(count_decisions(day) for day in days.values())
    is_reached = minutes <= GOAL_MINUTES and most <= GOAL_DECISIONS
    goal = f"At most {GOAL_MINUTES} minutes and {GOAL_DECISIONS} decisions: "
    head = ["user", "to the first result, min", "processor, min", "whole day, min", "decisions"]
    return [
        ResultPage(
            name="first-day",
            title="The first day",
            question="How long does it take from a new user's files to a first result?",
            answer=(
                f"At most {minutes:.1f} minutes and {most} decisions in {len(days)} cases, with "
                "the printed commands alone."
            ),
            headline=f"{minutes:.1f} min, {most} decisions",
            tables=[
                table([*head, "peak, GB"], rows),
                f"{goal}{format_goal(is_reached)}.",
                "A decision is the model, the tables (together one), the order to start, or a line "
                "of the study file that `fastif init` marks for the user. Nothing is typed but the "
                "first command: every further one is the line that was printed as `Next:`.",
                *(_render_day(day) for day in days.values()),
            ],
            measured=bullets(
                "Command: `python -m benchmarks.first_day`.",
                f"Hardware, {describe_machine(result)}.",
                "Outputs are those of a pipe 100 characters wide. `~/day` stands for the folder. "
                "Panels with texts are left out: the data sets may not be shipped.",
                "Installation and the training of the user's own model are not part of the time.",
            ),
        )
    ]


def count_seconds(day: dict) -> float:
    """Return the wall seconds up to the first result."""
    seconds = 0.0
    for step in day["steps"]:
        seconds += step["seconds"]
        if step["command"].split()[1] in RESULTS and not step["code"]:
            return seconds
    return seconds


def count_decisions(day: dict) -> int:
    """Return the decisions: model, tables, start, and the marked lines of the study file."""
    words = len(_split(day["steps"][0]["command"]))
    return 1 + min(words, 2) + len(day["marks"])


def _split(command: str) -> list[str]:
    """Arguments of the first command."""
    return re.findall(r"'[^']*'|\S+", command)[2:]


def _make_row(day: dict) -> list[str]:
    processor = sum(step["processor"] for step in day["steps"])
    wall = sum(step["seconds"] for step in day["steps"])
    return [
        day["title"],
        f"{count_seconds(day) / 60:.1f}",
        f"{processor / 60:.1f}",
        f"{wall / 60:.1f}",
        f"{count_decisions(day)}",
        f"{max(step['peak_mb'] for step in day['steps']) / 1e3:.1f}",
    ]


def _render_day(day: dict) -> str:
    steps = "\n\n".join(_render_step(step) for step in day["steps"])
    return fold(f"{day['title']}: all commands and outputs", steps)


def _render_step(step: dict) -> str:
    outcome = f"{step['seconds']:.0f} s" + (f", exit code {step['code']}" if step["code"] else "")
    return f"```text\n$ {step['command']}\n{step['output'].rstrip()}\n```\n\n{outcome}."
