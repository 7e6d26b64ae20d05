"""Time and decisions of a first day, from the files of a new user to the first results.

`python -m benchmarks.first_day [USER ...]` reads the data sets under FASTIF_DATA, trains the models
of three users (kept under benchmarks/.work), and plays their day: `fastif init` with their files,
then every command that is printed as the next one. It writes benchmarks/results/first-day.json and
its page of docs/results.
"""

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path

from benchmarks.first_day.files import USERS, User
from benchmarks.first_day.play import play_day
from benchmarks.first_day.report import build_pages
from benchmarks.machine import describe
from benchmarks.page import publish, read_result

WORK = Path("benchmarks/.work/first-day")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.first_day")
    parser.add_argument("users", nargs="*", default=[], help=", ".join(u.name for u in USERS))
    parser.add_argument("--page", action="store_true", help="only write the page again")
    arguments = parser.parse_args()
    known = read_result("first-day")
    if not arguments.page:
        data = Path(os.environ.get("FASTIF_DATA", ""))
        if not (data / "lingnli").is_dir():
            sys.exit("FASTIF_DATA must name the folder with amazon_reviews5/ and lingnli/")
        for user in USERS:
            if not arguments.users or user.name in arguments.users:
                known.setdefault("days", {})[user.name] = measure_day(user, data)
                known["machine"] = describe()
    publish("first-day", known, build_pages(known))


def measure_day(user: User, data: Path) -> dict:
    """Play the day of a user in a copy of the user's files."""
    originals, folder = WORK / user.name / "files", WORK / user.name / "day"
    if not (originals / "complete").is_file():
        originals.mkdir(parents=True, exist_ok=True)
        user.make(originals, data)
        (originals / "complete").touch()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(originals, folder, ignore=shutil.ignore_patterns("complete"))
    first = shlex.join(["fastif", "init", *user.first])
    return {"title": user.title, **play_day(folder.resolve(), first).to_json()}


main()
