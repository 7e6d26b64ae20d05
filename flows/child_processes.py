"""Child processes of the command line, such as Prefect's temporary server: found and ended."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

GRACE_SECONDS = 0.6
"""Time that children get after SIGTERM, before SIGKILL."""
REAP_SECONDS = 1.0
POLL_SECONDS = 0.02


def end_children(is_urgent: Callable[[], bool] = lambda: False) -> None:
    """End all descendants of this process: by SIGTERM, then by SIGKILL.

    Processes in a session of their own, such as the servers of `fastif up`, are left alone.

    Args:
        is_urgent: Function that returns whether to send SIGKILL at once.
    """
    children = list_descendants()
    _send(children, signal.SIGTERM)
    if not is_urgent():
        _await_end(children, GRACE_SECONDS, is_urgent)
    remaining = {*children, *list_descendants()}  # a nanny may have started another worker
    _send(remaining, signal.SIGKILL)
    _await_end(remaining, REAP_SECONDS)


def list_descendants() -> list[int]:
    """Process ids of all descendants in this process's session."""
    parents, session = _read_parents(), os.getsid(0)
    descendants: list[int] = []
    front = {os.getpid()}
    while front:
        front = {pid for pid, parent in parents.items() if parent in front}
        descendants += front
    return [pid for pid in descendants if _read_session(pid) == session]


def _read_parents() -> dict[int, int]:
    """Parent of each process."""
    if not Path("/proc/self/stat").exists():
        command = ["ps", "-eo", "pid=,ppid="]
        listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        return {int(pid): int(parent) for pid, parent in map(str.split, listing.splitlines())}
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with suppress(OSError):  # it has ended
                text = Path("/proc", entry, "stat").read_text(errors="replace")
                parents[int(entry)] = int(text.rpartition(")")[2].split()[1])
    return parents


def _read_session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _send(pids: Collection[int], number: int) -> None:
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, number)


def _await_end(
    pids: Collection[int], seconds: float, is_urgent: Callable[[], bool] = lambda: False
) -> None:
    """Wait until processes have ended, and collect the status of own children."""
    deadline = time.monotonic() + seconds
    remaining = set(pids)
    while remaining and time.monotonic() < deadline and not is_urgent():
        remaining = {pid for pid in remaining if not _has_ended(pid)}
        time.sleep(POLL_SECONDS if remaining else 0)


def _has_ended(pid: int) -> bool:
    """Whether a process has ended; an own child is reaped, so that it is not left defunct."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:  # of another parent, or reaped by another thread
        return _read_session(pid) is None
    except OSError:
        return True
