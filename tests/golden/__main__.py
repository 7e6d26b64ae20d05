"""`python -m tests.golden write|check [--exact] [--quick]`: 0 if nothing differs."""

import argparse
import os
import sys

# Before torch: sums over threads, or of rows that lie elsewhere in memory, have other last digits.
os.environ |= {"OMP_NUM_THREADS": "1", "MKL_CBWR": "AUTO"}

from tests.golden.compare import differences, expand_references
from tests.golden.document import read, write
from tests.golden.golden import DATA, QUICK, documents, environment

ENVIRONMENT = "environment"
MOST = 40


def main() -> int:
    """Write the golden files, or compare with them."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("what", choices=["write", "check"])
    parser.add_argument("--exact", action="store_true", help="to the last bit, on one machine")
    parser.add_argument("--quick", action="store_true", help="only what needs no store")
    chosen = parser.parse_args()
    if chosen.what == "write":
        return _write(chosen.quick)
    return _check(chosen.exact, chosen.quick)


def _write(quick: bool) -> int:
    for name, document in documents(quick):
        write(DATA / f"{name}.json", document)
        print(f"{name}: written", flush=True)
    if not quick:
        write(DATA / f"{ENVIRONMENT}.json", environment())
    return 0


def _check(exact: bool, quick: bool) -> int:
    known = {path.stem for path in DATA.glob("*.json")} - {ENVIRONMENT}
    missing = (known & set(QUICK)) if quick else known
    if exact and (written := read(DATA / f"{ENVIRONMENT}.json")) != environment():
        print(f"note: the golden files are from {written}, this is {environment()}")
    wrong = 0
    for name, document in documents(quick):
        expected = read(DATA / f"{name}.json") if name in known else {}
        lines = list(differences(expand_references(expected), expand_references(document), exact))
        missing.discard(name)
        wrong += bool(lines)
        print(f"{name}: {f'{len(lines)} differences' if lines else 'as it was'}", flush=True)
        for line in lines[:MOST]:
            print(f"  {line}")
    for name in missing:
        print(f"{name}: no such document any more")
    return int(bool(wrong or missing))


if __name__ == "__main__":
    sys.exit(main())
