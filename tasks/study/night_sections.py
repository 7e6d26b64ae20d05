"""The sections of a study file for scheduled audits: incremental runs and alerts."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from tasks.study.errors import Problem
from tasks.study.fields import Name, Section
from tasks.study.validation_errors import make_validation_error


class Carry(Section):
    """`[carry]`: incremental runs, which continue the last run. Without it every run is a full run.

    Scores of queries that the parent run has are reused, together with its curvature and choices,
    as long as the model and all settings are the same.
    """

    least: Annotated[float, Field(gt=0, le=1)] = 0.9
    """least share of the root run's training rows that must remain; below it, a full run"""


def _check_variable_name(name: str) -> str:
    """Check the name of an environment variable; the message never quotes the value."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None:
        change = (
            'keep the address in a variable, and write its name: webhook_env = "FASTIF_WEBHOOK"'
        )
        got = f"{len(name)} characters that are not such a name"
        raise make_validation_error(Problem("", "the name of an environment variable", got, change))
    return name


class Notify(Section):
    """`[notify]`: alerts by webhook, on every failure and when a limit is exceeded."""

    webhook_env: Annotated[Name, AfterValidator(_check_variable_name)] | None = None
    """name of the environment variable with the webhook's address, which is a secret"""
    recall_below: Annotated[float, Field(gt=0, le=1)] | None = None
    """alert if the candidates' recall of the top 10 or top 100 is lower"""
    residual_above: Annotated[float, Field(gt=0)] | None = None
    """alert if the residual of any query is larger"""
    harmful_above: Annotated[float, Field(gt=0, le=1)] | None = None
    """alert if the share of scored training rows with a negative summed effect is larger"""
    new_suspects_above: Annotated[int, Field(ge=0)] | None = None
    """alert if more training rows entered the 100 most harmful since the last comparable run"""
