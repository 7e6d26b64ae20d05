"""Entry point: tries every case and keeps the answers as "before" or "after"."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.malformed.case import Case
from benchmarks.malformed.cases import CASES
from benchmarks.malformed.folders import make_folders
from benchmarks.malformed.report import NAME, build_pages
from benchmarks.page import publish, read_result

WITHOUT_RIGHTS = "setpriv --bounding-set=-dac_override,-dac_read_search"


def main() -> None:
    """Try the cases; arguments: before or after, and fragments of the keys to try."""
    side, fragments = sys.argv[1], sys.argv[2:]
    cases = [case for case in CASES if not fragments or any(f in case.key for f in fragments)]
    result = read_result(NAME)
    answers = result.get(side, {}) if fragments else {}
    with tempfile.TemporaryDirectory() as temporary:
        folders = Path(os.environ.get("FASTIF_MALFORMED", temporary), "folders")
        if not folders.is_dir():
            make_folders(folders)
        for unprivileged in (False, True):
            chosen = [case for case in cases if case.unprivileged == unprivileged]
            if chosen and (not unprivileged or os.geteuid() == 0):
                answers |= dict(try_cases(chosen, folders, Path(temporary)))
    order = [case.key for case in CASES if case.key in answers]
    result |= {side: {key: answers[key] for key in order}, "machine": describe()}
    publish(NAME, result, build_pages(result))
    for key in order:
        if answers[key]["faults"] and (not fragments or any(f in key for f in fragments)):
            print(f"{key}: {'; '.join(answers[key]['faults'])}")


def try_cases(cases: list[Case], folders: Path, temporary: Path) -> Iterator[tuple[str, dict]]:
    """Try cases in one process after another; a command that ends its process costs one."""
    keys = [case.key for case in cases]
    prefix = WITHOUT_RIGHTS.split() if cases[0].unprivileged else []
    while keys:
        lines = temporary / f"lines-{len(keys)}.jsonl"
        lines.unlink(missing_ok=True)
        words = [sys.executable, "-m", "benchmarks.malformed.worker", str(folders), str(lines)]
        printed = temporary / "printed"  # a file: a server that outlives its command has it open
        with printed.open("wb") as file:
            ended = subprocess.run(
                [*prefix, *words, *keys], check=False, stdout=file, stderr=subprocess.STDOUT
            )
        text = printed.read_text("utf-8", "replace")
        records = [json.loads(line) for line in lines.read_text("utf-8").splitlines()]
        for record in records:
            if "code" in record:
                key = record.pop("key")
                print(f"{key}: {record['code']}", flush=True)
                yield key, record
                keys.remove(key)
        if keys and records and records[-1].get("key") == keys[0]:
            code = -ended.returncode
            yield (
                keys.pop(0),
                {
                    "code": 128 + code if code > 0 else ended.returncode,
                    "lines": text.splitlines()[-4:],
                    "seconds": 0.0,
                    "faults": [f"the process ends by signal {code}"],
                },
            )
        elif keys and not records:
            raise RuntimeError(text)


if __name__ == "__main__":
    main()
