"""Kind of the targets of a run, from its record."""

from storage.run_record import RunRecord
from tasks.study.target_kind import CLASS


def read_target(record: RunRecord) -> str:
    """Return the kind of the targets of a run; a run of an earlier version is of classes."""
    return str(record.parts.get("target", CLASS))
