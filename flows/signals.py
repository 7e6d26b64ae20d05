"""Answers to SIGINT, SIGTERM and SIGHUP within a second, also while native code runs.

Python runs signal handlers in the main thread between two bytecodes, so a long matrix product or
eigendecomposition delays them, and libraries replace them. The signal wakeup descriptor is written
at once, regardless of the main thread and of the installed handler; a thread reads it, prints one
line, ends the child processes and the process. Files are committed atomically, so nothing has to be
unwound.
"""

import os
import select
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from flows.child_processes import POLL_SECONDS, end_children

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAME_SIGNAL_SECONDS = 0.2
"""Interval within which signals count as one: `timeout` sends each to a process and its group."""
WRITE_SECONDS = 0.3
LISTENER_SECONDS = 0.5
"""Time that functions of `call_when_stopped` get."""
SHOW_CURSOR = "\x1b[?25h"

KEPT = {
    "audit": "Committed shards and finished preparations are kept; continue with",
    "train": "No model was written; start again with",
    "mislabels": "Finished embeddings and classifiers are kept; continue with",
    "correct": "No model was written; start again with",
    "reproduce": "Finished steps are kept; continue with",
}
"""Parts of a command that an interruption keeps, by the command's name."""
DEFAULT_KEPT = "Nothing was left half written; repeat it with"

Answer = Callable[[int], None]
Listener = Callable[[str], None]


class SignalWatcher:
    """Thread that answers signals for the command line.

    Args:
        arguments: Arguments of the command line, without the program's name.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = list(arguments)
        self._interceptor: Answer | None = None
        self._stopping = threading.Event()
        self._reader, self._writer = os.pipe()
        self._terminal = _read_terminal_state()

    def start(self) -> None:
        """Install the handlers and start the thread."""
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in SIGNALS:
            is_nohup = number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN
            if not is_nohup:
                signal.signal(number, _ignore)
        os.register_at_fork(after_in_child=_reset_signals)
        threading.Thread(target=self._watch, name="fastif-signals", daemon=True).start()

    @contextmanager
    def intercept(self, answer: Answer) -> Iterator[None]:
        """Pass the first signal in the block to a function instead of ending the process."""
        self._interceptor = answer
        try:
            yield
        finally:
            self._interceptor = None

    def wait_if_stopping(self) -> None:
        """Leave the end of the process to the watcher if a signal has arrived."""
        if self._stopping.is_set():
            threading.Event().wait()

    def _watch(self) -> None:
        while True:
            number = self._read_signal()
            answer, self._interceptor = self._interceptor, None
            if answer is None:
                self._stop(number)
            answer(number)
            self._skip_repeats()

    def _read_signal(self) -> int:
        while True:
            for number in os.read(self._reader, 1):
                if number in SIGNALS:
                    return number

    def _skip_repeats(self) -> None:
        time.sleep(SAME_SIGNAL_SECONDS)
        while select.select([self._reader], [], [], 0)[0]:
            os.read(self._reader, 1)

    def _stop(self, number: int) -> NoReturn:
        """Print what is kept and how to continue, end all children, and exit."""
        self._stopping.set()
        _restore_terminal(self._terminal)
        line = f"Stopped by {signal.Signals(number).name}. {self._describe_rest()}"
        _write_last_line(line)
        start = time.monotonic()

        def is_repeated() -> bool:
            is_new = bool(select.select([self._reader], [], [], 0)[0])
            return is_new and time.monotonic() - start > SAME_SIGNAL_SECONDS

        with suppress(Exception):  # the process ends also if its children do not
            _call_listeners(line, is_repeated)
            end_children(is_repeated)
            _remove_temporary_paths()
        os._exit(128 + number)

    def _describe_rest(self) -> str:
        name = self._arguments[0] if self._arguments else ""
        kept = DEFAULT_KEPT if "--dry-run" in self._arguments else KEPT.get(name, DEFAULT_KEPT)
        return f"{kept}: {shlex.join(['fastif', *self._arguments])}"


_watcher: SignalWatcher | None = None
_listeners: list[Listener] = []


@contextmanager
def call_when_stopped(listener: Listener) -> Iterator[None]:
    """Call a function with the last line if a signal ends the process in the block.

    It runs in a thread of its own, and is left alone after half a second.
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def answer_signals(arguments: Sequence[str]) -> Iterator[None]:
    """Answer signals until the process ends.

    Args:
        arguments: Arguments of the command line, without the program's name.
    """
    global _watcher
    if _watcher is None and threading.current_thread() is threading.main_thread():
        _watcher = SignalWatcher(arguments)
        _watcher.start()
    try:
        yield
    finally:
        if _watcher is not None:
            _watcher.wait_if_stopping()


@contextmanager
def intercept_first_signal(answer: Answer) -> Iterator[None]:
    """Pass the first SIGINT or SIGTERM in the block to a function; the second has its usual effect.

    Without a watcher Python's own handlers are used, and only in the main thread, since Python
    allows no handlers elsewhere.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def handle(number: int, _frame: FrameType | None) -> None:
        restore()
        answer(number)

    for number in previous:
        signal.signal(number, handle if _watcher is None else _ignore)
    try:
        if _watcher is None:
            yield
        else:
            with _watcher.intercept(answer):
                yield
    finally:
        restore()


def _call_listeners(line: str, is_urgent: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LISTENER_SECONDS
    threads = [threading.Thread(target=f, args=(line,), daemon=True) for f in _listeners]
    for thread in threads:
        thread.start()
    while any(t.is_alive() for t in threads) and time.monotonic() < deadline and not is_urgent():
        time.sleep(POLL_SECONDS)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the watcher has read the signal already."""


def _reset_signals() -> None:
    """Give a forked child the default handlers, so that it does not answer for its parent."""
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        if signal.getsignal(number) is _ignore:
            signal.signal(number, signal.SIG_DFL)


def _remove_temporary_paths() -> None:
    """Remove half-written files; without an import, which could take seconds."""
    if "storage.temporary_paths" in sys.modules:
        sys.modules["storage.temporary_paths"].remove_temporary_paths()


def _write_last_line(text: str) -> None:
    """Write a line to standard error, and silence all that other threads print afterwards."""
    is_terminal = os.isatty(2)
    start, end = (f"\r{SHOW_CURSOR}\n", "\r\n") if is_terminal else ("", "\n")
    with suppress(OSError):
        if select.select([], [2], [], WRITE_SECONDS)[1]:  # a full pipe would block for ever
            os.write(2, f"{start}{text}{end}".encode(errors="backslashreplace"))
    silence = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(silence, descriptor)


def _read_terminal_state() -> list[Any] | None:
    """Settings of the terminal that a prompt may change; None without a terminal."""
    try:
        import termios

        return termios.tcgetattr(0)
    except Exception:  # no terminal, or no such module
        return None


def _restore_terminal(state: list[Any] | None) -> None:
    if state is None:
        return
    import termios

    with suppress(Exception):
        if os.tcgetpgrp(0) == os.getpgrp():  # a process in the background would be stopped
            termios.tcsetattr(0, termios.TCSADRAIN, state)
