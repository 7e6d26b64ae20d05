"""Whether anything but chance is behind the ranking of a mislabel table, and what to change."""

from typing import Any

import polars as pl

from fastif import InputError
from tasks.mislabels.contradictions import select_contradictions


def is_informed(facts: dict[str, Any]) -> bool:
    """Whether the features, another classifier or trusted rows predict the labels at all.

    Args:
        facts: Summary of a detection; those of earlier versions are not tested.
    """
    return facts.get("informed", True)


def select_informed(rows: pl.DataFrame, facts: dict[str, Any]) -> pl.DataFrame:
    """Select the rows whose rank is not chance: all of them, or only the contradictions.

    Args:
        rows: Rows of a mislabel table.
        facts: Summary of the detection.
    """
    return rows if is_informed(facts) else select_contradictions(rows)


def check_informed(rows: pl.DataFrame, facts: dict[str, Any]) -> None:
    """Refuse to go on where no row is selected, since the order of all is chance.

    Raises:
        InputError: There is no row, and the ranking is one by chance.
    """
    if rows.is_empty() and not is_informed(facts):
        raise InputError(
            "rows to review",
            "features that predict the labels better than chance",
            "an order by chance",
            f"{suggest_features(facts)} `fastif review export --random 100` takes a random sample "
            "instead.",
        )


def explain_chance(facts: dict[str, Any]) -> str:
    """Explain why no row is shown, and what to change."""
    return (
        "The features predict the labels no better than chance, so the order of the rows is random "
        f"and none is shown or exported. {suggest_features(facts)}"
    )


def suggest_features(facts: dict[str, Any]) -> str:
    """Suggest better features: another encoder for texts, more columns for tables."""
    if facts["encoder"]:
        return "Set [mislabels] encoder to a better model."
    return "Add feature columns that say more about the class."
