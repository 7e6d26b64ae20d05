"""A process to be killed, limited or raced: python store_child.py JOB ROOT ARGUMENTS."""

import itertools
import os
import resource
import signal
import sys
import time
from pathlib import Path

from store_samples import RUN, SHARDS, STUDY, record, tables

from storage import Store, StoreError


def fill(root, writer="0"):
    """Commit the missing shards and print each."""
    store = Store.open(Path(root), STUDY)
    store.open_run(record())
    print("ready", flush=True)
    for shard in store.find_missing(RUN, SHARDS):
        store.commit(RUN, shard.key, tables(shard, int(writer)))
    print("done", flush=True)


def race(root, writer):
    """Commit every shard five times, concurrently with another process."""
    store = Store.open(Path(root), STUDY)
    store.open_run(record())
    frames = {shard.key: tables(shard, int(writer)) for shard in SHARDS}
    print("ready", flush=True)
    sys.stdin.readline()
    for key, made in frames.items():
        for _ in range(5):
            store.commit(RUN, key, made)
    print("done", flush=True)


def die(root):
    """Fork a process for each step of a commit, killed just before it, until one survives."""
    for call in itertools.count(1):
        process = os.fork()
        if process == 0:
            _commit_until(Path(root) / str(call), call)
            os._exit(0)
        _, status = os.waitpid(process, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print(call, "killed" if killed else f"status {status}", flush=True)
        if not killed:
            return


def _commit_until(root, call):
    """Exit just before the call-th system call that has a visible effect."""
    store = Store.open(root, STUDY)
    store.open_run(record())
    count = 0

    def counted(original):
        def called(*args):
            nonlocal count
            count += 1
            if count == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args)

        return called

    for name in ("fsync", "replace", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))
    store.commit(RUN, SHARDS[0].key, tables(SHARDS[0]))


def starve(root, limit):
    """Commit under a limit on the size of files."""
    store = Store.open(Path(root), STUDY)
    store.open_run(record())
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    try:
        store.commit(RUN, SHARDS[0].key, tables(SHARDS[0]))
    except StoreError as error:
        print(error, flush=True)


def part(root, letter):
    """Write the same artifacts repeatedly, in step with another process."""
    store = Store.open(Path(root), STUDY)

    def write(folder):
        (folder / "sub").mkdir()
        (folder / "sub" / "a.bin").write_bytes(letter.encode() * 1000)
        time.sleep(0.002)
        (folder / "b.bin").write_bytes(letter.encode() * 500)

    print("ready", flush=True)
    sys.stdin.readline()
    for index in range(20):
        store.write_artifact("index", f"{index:064d}", write)
    print("done", flush=True)


JOBS = {"fill": fill, "race": race, "die": die, "starve": starve, "part": part}

if __name__ == "__main__":
    JOBS[sys.argv[1]](*sys.argv[2:])
