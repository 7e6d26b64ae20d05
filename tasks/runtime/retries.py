"""Which failures are worth another try."""

from typing import Any

from fastif import InputError
from storage import StoreError
from tasks.study.errors import StudyError

USER_ERRORS = (InputError, StoreError, StudyError)
"""What the user has to change; trying again would only say it twice."""


def retry_if_transient(_task: Any, _run: Any, state: Any) -> bool:
    """Retry what may pass (a full memory, a lost mount), not a mistake in the input."""
    return not isinstance(state.result(raise_on_failure=False), USER_ERRORS)
