"""The catalogue of a store: a cache that changes no answer, and saves the reading of old runs."""

import os
import time

import pytest
from store_samples import RUN, SHARDS, record
from test_store import finish

from storage.catalogue import NAME, UNCATALOGUED, Catalogue

OLD = 2 * 24 * 3600


def age(folder):
    then = time.time() - OLD
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


def add_runs(store, count, start=0):
    names = [f"night-{number:03}" for number in range(start, start + count)]
    for name in names:
        store.open_run(record(name))
        finish(store, name, SHARDS[:2])
    return names


@pytest.fixture
def catalogued(store):
    """A store whose catalogue holds many finished runs, and one run that is not finished."""
    add_runs(store, UNCATALOGUED + 1)
    age(store.layout.root)
    add_runs(store, 1, UNCATALOGUED + 1)
    assert (store.layout.runs / NAME).is_file()
    return store


def list_without(store):
    """The runs as they are listed without a catalogue."""
    (store.layout.runs / NAME).unlink(missing_ok=True)
    return store.list_runs()


def test_runs_are_those_without_a_catalogue(catalogued):
    catalogue = Catalogue.read(catalogued.layout)
    assert len(catalogue.catalogued) == UNCATALOGUED + 1
    assert RUN not in catalogue.catalogued, "it is not finished"
    statuses = catalogued.list_runs()
    assert [status.record.run for status in statuses][:2] == ["night-009", "night-008"]
    assert statuses == list_without(catalogued)


def test_a_catalogued_run_is_not_read_again(catalogued):
    before, path = catalogued.list_runs(), catalogued.layout.record("night-003")
    times, size = path.stat(), path.stat().st_size
    with path.open("r+b") as file:
        file.write(b"x" * size)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert catalogued.list_runs() == before
    assert catalogued.verify(RUN) == [], "a check of another run reads the files themselves"


def _remove_file(store):
    (entry, *_) = store._list_table_files("scores", "night-002")
    (store.layout.root / entry.path).unlink()


def _withdraw(store):
    store.withdraw("night-002", [SHARDS[0].key])


def _make_current(store):
    store.make_current("night-002")


def _remove_run(store):
    store.remove(store.list_run_files("night-002"))


def _commit_again(store):
    finish(store, "night-002", SHARDS[:3])


CHANGES = (_remove_file, _withdraw, _make_current, _remove_run, _commit_again)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_a_catalogued_run_is_seen(catalogued, change):
    before = catalogued.list_runs()
    change(catalogued)
    after = catalogued.list_runs()
    assert after != before
    assert after == list_without(catalogued)


@pytest.mark.parametrize("place", [0, 70, -2])
def test_a_damaged_catalogue_counts_as_none(catalogued, place):
    before, path = catalogued.list_runs(), catalogued.layout.runs / NAME
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert not Catalogue.read(catalogued.layout).catalogued
    assert catalogued.list_runs() == before


def test_it_is_neither_a_run_nor_a_leftover(catalogued):
    names, damaged = catalogued.list_names()
    assert NAME not in names
    assert damaged == []
    age(catalogued.layout.root)
    assert catalogued.find_leftovers() == []


def test_files_that_have_just_changed_are_not_catalogued(store):
    add_runs(store, UNCATALOGUED + 1)
    assert not Catalogue.read(store.layout).update()
    age(store.layout.root)
    assert Catalogue.read(store.layout).update()


def test_removed_runs_leave_the_catalogue(catalogued):
    for number in range(UNCATALOGUED):
        catalogued.remove(catalogued.list_run_files(f"night-{number:03}"))
    assert Catalogue.read(catalogued.layout).update()
    assert list(Catalogue.read(catalogued.layout).catalogued) == [f"night-{UNCATALOGUED:03}"]
