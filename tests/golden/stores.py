"""Stores of earlier days, kept as files: how they were written, and how they are unpacked.

    python -m tests.golden.stores FORMAT    writes data/store-FORMAT.tar.gz with this code

`store-3` is of the day before the modules were moved; `store-2` of the last commit that wrote that
format, 4a7b723^, in whose tree the same command was run.
"""

import io
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.golden.command import commands
from tests.golden.golden import DATA, run_step
from tests.golden.study import AUDIT, AUDITED, NIGHTLY, Sections, Step

FULL: Sections = {}
STEPS = (Step(AUDIT, NIGHTLY), Step(AUDIT, FULL))


def unpack(number: int, folder: Path) -> Path:
    """The store of a format, in a folder."""
    shutil.unpack_archive(DATA / f"store-{number}.tar.gz", folder)
    return folder / "store"


def pack(store: Path, number: int) -> None:
    """Keep a store; nothing of this machine is in the archive."""
    with tarfile.open(DATA / f"store-{number}.tar.gz", "w:gz") as archive:
        for path in sorted(store.rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                entry = tarfile.TarInfo(path.relative_to(store.parent).as_posix())
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))


def main() -> None:
    """Run the steps and keep the store."""
    with commands() as fastif, tempfile.TemporaryDirectory(prefix="golden-") as folder:
        place = Path(folder) / "study"
        for step in STEPS:
            run_step(fastif, place, step, AUDITED)
        pack(place / "store", int(sys.argv[1]))


if __name__ == "__main__":
    main()
