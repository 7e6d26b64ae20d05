"""Worker that tries cases in one process and writes a line of JSON before and after each.

`python -m benchmarks.malformed.worker FOLDERS LINES KEY...`; the parent starts another worker for
the rest if a command ends the process, and after each audit.
"""

import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import unicodedata
from pathlib import Path

from typer.testing import CliRunner

from benchmarks.malformed.case import REFUSED, Case
from benchmarks.malformed.cases import CASES

PATIENCE = 150
"""Seconds after which a command ends the process."""
BREAKS = ("Traceback (most recent call last)", "A bug in fastif", "panicked at")


def main() -> None:
    """Try the cases whose keys are given."""
    folders, lines, keys = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    by_key = {case.key: case for case in CASES}
    with lines.open("a", encoding="utf-8") as file:
        for key in keys:
            print(json.dumps({"key": key}), file=file, flush=True)
            answer = try_case(by_key[key], folders)
            print(json.dumps({"key": key, **answer}), file=file, flush=True)
            if by_key[key].command[0] == "audit" and "--dry-run" not in by_key[key].command:
                break  # threads of Prefect would report the end of its server in later commands
    os._exit(0)  # threads of the commands, such as those of Prefect, may still be at work


def try_case(case: Case, folders: Path) -> dict:
    """Run the command of a case in a spoilt copy of its folder."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(shutil.copytree(folders / case.base, Path(temporary) / "study"))
        case.spoil(folder)
        before, hidden = contents(folder), list_hidden(folder)
        start = processor_seconds()
        code, text = invoke(case, folder)
        text = text.replace(str(folder), "FOLDER")
        seconds = processor_seconds() - start
        restore_rights(folder)
        changed = [] if case.changes else sorted(differences(before, contents(folder)))
        changed = [name for name in changed if not name.startswith(hidden)]
        unmount(folder)
    return {
        "code": code,
        "lines": [line[:400] for line in text.splitlines() if line.strip()][:12],
        "seconds": round(seconds, 2),
        "faults": judge(case, code, text, changed),
    }


def invoke(case: Case, folder: Path) -> tuple[int, str]:
    """Run a command in the folder; return its exit code and all that it printed."""
    from flows.cli import app
    from flows.cli.common import err, out

    out._width = err._width = 200
    announcements = sys.modules.get("tasks.data.announcements")
    if announcements is not None:
        announcements._announced.clear()  # notes are printed once in a process
    environment, here = dict(os.environ), Path.cwd()
    os.chdir(folder)
    signal.alarm(PATIENCE)
    try:
        with tempfile.TemporaryFile() as printed:
            saved = os.dup(2)
            os.dup2(printed.fileno(), 2)  # what libraries print past Python
            try:
                result = CliRunner().invoke(app.app, list(case.command))
            finally:
                os.dup2(saved, 2)
                os.close(saved)
            printed.seek(0)
            text = result.output + printed.read().decode("utf-8", "replace")
        error = result.exception
        if error is not None and not isinstance(error, SystemExit):
            text += f"\n{BREAKS[0]}: {type(error).__name__}: {error}"
        return result.exit_code, text
    finally:
        signal.alarm(0)
        os.chdir(here)
        os.environ.clear()
        os.environ.update(environment)


def judge(case: Case, code: int, text: str, changed: list[str]) -> list[str]:
    """Return what is wrong with an answer, one phrase each; empty for a right one."""
    lower = " ".join(text.lower().split())
    faults = ["a traceback"] if any(words in text for words in BREAKS) else []
    control = {c for c in text if unicodedata.category(c) == "Cc" and c not in "\n\t"}
    if control:
        faults.append(f"control characters {', '.join(sorted(f'U+{ord(c):04X}' for c in control))}")
    if code not in case.codes:
        faults.append(f"exit code {code} instead of {' or '.join(map(str, case.codes))}")
    for words in case.words:
        if not any(" ".join(w.lower().split()) in lower for w in words.split("|")):
            faults.append(f"does not say {words.replace('|', ' or ')!r}")
    faults += [f"says {words!r}" for words in case.absent if words.lower() in lower]
    if changed and (case.codes == REFUSED or not case.changes):
        faults.append(f"changes {', '.join(changed[:3])}")
    return faults


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return the bytes of every file below a folder, None for anything else."""
    data: dict[str, bytes | None] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        try:
            data[name] = path.read_bytes() if path.is_file() else None
        except OSError:
            data[name] = None
    return data


def list_hidden(folder: Path) -> tuple[str, ...]:
    """Return the names of files and folders below a folder that may not be read."""
    paths = [folder, *folder.rglob("*")]
    denied = [path for path in paths if not path.is_fifo() and not os.access(path, os.R_OK)]
    return tuple(str(path.relative_to(folder)) for path in denied if path != folder)


def differences(before: dict, after: dict) -> set[str]:
    """Return the names of files that were made, removed or changed."""
    names = before.keys() | after.keys()
    return {name for name in names if before.get(name, 0) != after.get(name, 0)}


def restore_rights(folder: Path) -> None:
    """Give back the permissions of every file, for the comparison and the removal."""
    folder.chmod(0o755)
    for root, directories, files in os.walk(folder):
        for name in (*directories, *files):
            path = Path(root, name)
            if not path.is_symlink():
                path.chmod(0o755)


def unmount(folder: Path) -> None:
    """Unmount the small disk of a case, if it has one."""
    if os.path.ismount(folder / "disk"):
        os.system(f"umount -l '{folder}/disk'")


def processor_seconds() -> float:
    """Return the processor time of this process and its children so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    main()
