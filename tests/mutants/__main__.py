"""`python -m tests.mutants [--only NAME ...]`: a line a mutant, then the counts."""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.killing import HUNG, preload, run_tests
from tests.mutants.listed import MUTANTS
from tests.mutants.mutant import Mutant, StaleError

ROOT = Path(__file__).parents[2]
PATIENCE = 300
"""Seconds after which tests hang, as a mutant may make them."""
LEFT_OUT = {".git", ".venv", "__pycache__", "out", "node_modules"}
STATES = {0: "SURVIVED", 1: "killed", 2: "killed", HUNG: "killed"}
"""By pytest's status: 1 a test failed, 2 a file could not be imported; others are mistakes here."""


def _leave_out(folder: str, names: list[str]) -> set[str]:
    """What no test reads; `results` alone would match subpackages too."""
    more = {"results"} if Path(folder) == ROOT / "benchmarks" else set()
    return (LEFT_OUT | more) & set(names)


def main() -> int:
    """0 if every mutant is killed by its tests."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="mutants with this in their name")
    arguments = parser.parse_args()
    chosen = [
        item
        for item in MUTANTS
        if not arguments.only or any(n in item.name for n in arguments.only)
    ]
    preload()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        root = Path(folder) / "tree"
        shutil.copytree(ROOT, root, ignore=_leave_out)
        fails = _fails(root, chosen)
        counts = Counter(_try_mutant(root, mutant) for mutant in chosen)
    print(", ".join(f"{count} {state}" for state, count in sorted(counts.items())))
    return int(fails or not chosen or set(counts) != {"killed"})


def _fails(root: Path, mutants: Sequence[Mutant]) -> bool:
    """Whether a test that is named fails on the tree as it is, where it kills nothing."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    code, words = run_tests(root, tests, PATIENCE * 4)
    if code:
        print(f"The tests fail without a mutant: {words}", flush=True)
    return code != 0


def _try_mutant(root: Path, mutant: Mutant) -> str:
    start = time.monotonic()
    try:
        with mutant.applied(root):
            code, words = run_tests(root, mutant.tests, PATIENCE)
            state = STATES.get(code, f"BROKEN ({code})")
    except StaleError as error:
        state, words = "STALE", str(error)
    print(f"{state:9} {time.monotonic() - start:4.0f} s  {mutant.name}: {words}", flush=True)
    return state


if __name__ == "__main__":
    sys.exit(main())
