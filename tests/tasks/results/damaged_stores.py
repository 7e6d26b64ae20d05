"""Functions that damage a store or truncate new files, and the commands that read it."""

import resource
import shutil
from contextlib import contextmanager

from typer.testing import CliRunner

from flows.cli import app as cli
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study


def run(*args: object) -> tuple[int, str]:
    """Exit code and output of a command; other exceptions are raised."""
    result = CliRunner().invoke(cli.app, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output.replace("\n", " ")


def store_of(folder):
    return open_existing_store(load_study(folder / "study.toml"))


def first_run_name(folder):
    return sorted(path.name for path in (folder / "store" / "runs").iterdir())[0]


READING = [
    lambda folder: ("top", "query-1", "--study", folder / "study.toml"),
    lambda folder: ("show", "train-1", "--study", folder / "study.toml"),
    lambda folder: ("report", "--study", folder / "study.toml"),
    lambda folder: ("diff", *2 * [first_run_name(folder)], "--study", folder / "study.toml"),
    *(
        lambda folder, table=table: (
            *("export", table, "--study", folder / "study.toml"),
            *("--out", folder / f"{table}.parquet"),
        )
        for table in ("scores", "solves", "queries", "train")
    ),
]


def flip(path):
    data = bytearray(path.read_bytes())
    place = len(data) // 2
    data[place : place + 3] = bytes(byte ^ 0xFF for byte in data[place : place + 3])
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def foreign(path):
    path.write_bytes(b"PAR1 not what it says \xff\xfe PAR1")


def lose(path):
    path.unlink()


def half(folder):
    """Delete half of the shards of a finished run, with their manifests."""
    store = store_of(folder)
    name = first_run_name(folder)
    keys = [shard.key for shard in store.read_record(name).list_shards()]
    for key in keys[: len(keys) // 2]:
        store.layout.manifest(name, key).unlink()
        for path in store.layout.tables.rglob(f"shard={key}"):
            if path.parent.parent.name in ("scores", "solves", "queries") or key != "00000":
                shutil.rmtree(path, ignore_errors=True)
    return f"{len(keys) - len(keys) // 2} of {len(keys)}"


@contextmanager
def files_of_at_most(count):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
