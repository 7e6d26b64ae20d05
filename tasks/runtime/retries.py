"""Retry policy of tasks: transient failures are retried, user errors are not."""

from typing import Any

from fastif import InputError
from storage import StoreError
from tasks.study.errors import StudyError

USER_ERRORS = (InputError, StoreError, StudyError)
"""Errors that only the user can fix; a retry would fail again."""


def retry_if_transient(_task: Any, _run: Any, state: Any) -> bool:
    """Whether to retry: transient failures (memory, a lost mount), not errors of the input."""
    return not isinstance(state.result(raise_on_failure=False), USER_ERRORS)
