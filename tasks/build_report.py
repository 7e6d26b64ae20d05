"""The page of a run, written beside its store."""

from dataclasses import dataclass
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from storage import write_bytes
from tasks.lookup import newest_run
from tasks.plan import existing_store
from tasks.report.night import read_night
from tasks.report.page import Page, page_of, render
from tasks.study import load_study
from tasks.summary import page_path


@dataclass(frozen=True)
class Wish:
    """What is to be reported.

    Attributes:
        study: path of its file.
        run: by name; the newest finished one if None.
        against: the run to compare with; the newest that can be if None.
        out: the file; beside the store if None.
        price: of an hour of the machine, for the section on cost.
    """

    study: str
    run: str | None = None
    against: str | None = None
    out: str | None = None
    price: float | None = None


@dataclass(frozen=True)
class Built:
    """A page that was written.

    Attributes:
        path: where.
        run: that it is about.
        headline: its three sentences.
        trust: what was measured and whether it is in order; no example text.
    """

    path: str
    run: str
    headline: list[str]
    trust: list[dict[str, str]]


@task(name="build-report", cache_policy=NO_CACHE)
def build_report(wish: Wish) -> Built:
    """Read a run, make its page and write it whole or not at all."""
    study = load_study(Path(wish.study))
    store = existing_store(study)
    run = wish.run or newest_run(store)
    page = page_of(read_night(store, run, study.path, wish.against), wish.price)
    path = Path(wish.out or page_path(store.layout.root, study.folder, run))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, render(page).encode())
    return Built(str(path.resolve()), run, page.headline, _trust(page))


def _trust(page: Page) -> list[dict[str, str]]:
    words = {None: "told", True: "yes", False: "NO"}
    return [
        {"what": one.name, "measured": one.figure, "in order": words[one.fine]}
        for one in page.assurances
    ]
