"""The section of docs/results.md on faults, from what `make test-faults` counted.

`python -m benchmarks.nightly.faults`, after the suite.
"""

import sys

from benchmarks.page import PAGE, join_parts, put_section, read_result


def main() -> int:
    put_section(PAGE, "faults", section(read_result("faults")))
    return 0


def section(counted: dict) -> str:
    """The section as Markdown."""
    parts = [counts for name, counts in counted.items() if name.startswith("kills-")]
    kills, stores = (sum(part[key] for part in parts) for key in ("kills", "stores"))
    failed = counted.get("requests of a bucket that failed", 0)
    faults = [
        f"- {kills} SIGKILLs at random moments from the first import to the last commit, in "
        f"{stores} stores, each resumed to the undisturbed tables.",
        f"- A bucket of which {failed} requests failed: the audit came to its end. One that "
        "stopped answering, with errors or with silence: a message, and the rest later.",
        "- A Dask worker killed, the scheduler killed, the Prefect server killed and started "
        "again in mid-run; a worker that was stopped, given up, and finished late; two nights "
        "at once; SIGTERM and SIGINT during commits, once and twice; a deadline; a clock that "
        "jumped back a day.",
        "- A disk that another process fills in mid-run, and one too small for the forecast; "
        "files deleted, cut short, and with one bit turned.",
        "- Prefect with a password and on PostgreSQL, Dask over TLS.",
    ]
    return join_parts(
        "## Faults on purpose",
        "`make test-faults`. Each audit is of a small study in 17 shards of one query; "
        "afterwards its tables are compared row by row with those of an undisturbed one, every "
        "byte with its digest, and what had been committed with what is there.",
        "\n".join(faults),
    )


if __name__ == "__main__":
    sys.exit(main())
