"""`python -m tests.fuzz FIRST LAST [--jobs N] [--out FILE]`: a line a seed, then the counts."""

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.fuzz.command import ROOT, prefect_server
from tests.fuzz.sweep import Result, run_seeds


def main() -> int:
    """0 if no seed is WRONG."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int, help="the first seed that is not run any more")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a JSON file; seeds that it has are replaced")
    arguments = parser.parse_args()
    results: list[Result] = []
    commit = _commit()
    with prefect_server():
        for result in run_seeds(range(arguments.first, arguments.last), arguments.jobs):
            print(result, flush=True)
            results.append(result)
            if arguments.out:
                _keep(arguments.out, result, commit)
    counts = Counter(result.state for result in results)
    print(json.dumps({"commit": commit, "seeds": len(results), **counts}))
    return int(counts["WRONG"] > 0)


def _keep(path: Path, result: Result, commit: str) -> None:
    known = json.loads(path.read_text()) if path.exists() else {}
    known[str(result.seed)] = {**result.record(), "commit": commit}
    path.write_text(
        json.dumps(dict(sorted(known.items(), key=lambda item: int(item[0]))), indent=1)
    )


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
