"""Page docs/results/faults.md, from the counts of `make test-faults`.

`python -m benchmarks.nightly.faults`, after the suite.
"""

import sys

from benchmarks.page import PAGES, ResultPage, bullets, read_result, write_pages


def main() -> int:
    write_pages(PAGES, build_pages(read_result("faults")))
    return 0


def build_pages(counted: dict) -> list[ResultPage]:
    """Return the page on injected faults."""
    parts = [counts for name, counts in counted.items() if name.startswith("kills-")]
    kills, stores = (sum(part[key] for part in parts) for key in ("kills", "stores"))
    failed = counted.get("requests of a bucket that failed", 0)
    return [
        ResultPage(
            name="faults",
            title="Injected faults",
            question="Does an audit that is killed or loses its network, disk or workers resume?",
            answer=(
                f"Yes. After {kills} SIGKILLs in {stores} stores each audit resumed to the tables "
                "of an undisturbed audit."
            ),
            headline=f"{kills} SIGKILLs, all resumed",
            tables=[
                bullets(
                    f"Processes: {kills} SIGKILLs at random moments from the first import to the "
                    f"last commit, in {stores} stores. Each resumed to the undisturbed tables.",
                    f"Object storage: {failed} requests to a bucket failed, and the audit "
                    "completed. A bucket that stopped responding, with errors or with timeouts: an "
                    "error message, and the rest in a later run.",
                    "Dask and Prefect: a worker killed, the scheduler killed, the Prefect server "
                    "killed and restarted during a run; a worker that was paused, declared lost, "
                    "and finished late.",
                    "Control: two runs at once; SIGTERM and SIGINT during commits, once and twice; "
                    "a deadline; a clock set back by a day.",
                    "Disk: a disk that another process fills during a run, and one too small for "
                    "the forecast; files deleted, truncated, and with one bit flipped.",
                    "Services: Prefect with a password and on PostgreSQL, Dask over TLS.",
                )
            ],
            measured=bullets(
                "Command: `make test-faults`.",
                "Each audit is of a small study in 17 shards of one query.",
                "Afterwards its tables are compared row by row with those of an undisturbed audit, "
                "each file with its digest, and the committed shards with the files present.",
            ),
        )
    ]


if __name__ == "__main__":
    sys.exit(main())
