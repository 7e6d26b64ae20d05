"""A process that ends while it replaces a folder leaves the old or the new one, never neither."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = """
import os, sys, threading, time
from pathlib import Path
from storage.atomic_folder import replace_folder
from storage.temporary_paths import remove_temporary_paths

folder, moment = Path("model").absolute(), sys.argv[1]

def end():
    # What the thread that answers signals does.
    remove_temporary_paths()
    os._exit(7)

def interrupt(event, arguments):
    # Python reports each step of the replacement just before it is made.
    is_old = event == "os.rename" and Path(arguments[0]) == folder or event == "shutil.rmtree"
    is_new = event == "os.rename" and Path(arguments[1]) == folder
    if (is_old and moment == "old") or (is_new and moment == "new"):
        threading.Thread(target=end).start()
        time.sleep(0.1)

with replace_folder(folder) as temp:
    temp.mkdir()
    (temp / "weights").write_text("new")
    sys.addaudithook(interrupt)
time.sleep(30)
"""
LATE = """
import threading, time, os
from pathlib import Path
from storage.atomic_folder import replace_folder
from storage.temporary_paths import remove_temporary_paths

def write():
    with replace_folder(Path("model").absolute()) as temp:
        temp.mkdir()
        (temp / "weights").write_text("new")
        half.set()
        removed.wait()
        temp.mkdir()  # as the next save_pretrained of a tokenizer does
        (temp / "tokenizer").write_text("new")

half, removed = threading.Event(), threading.Event()
threading.Thread(target=write, daemon=True).start()
half.wait()
remove_temporary_paths()
removed.set()
time.sleep(0.3)
os._exit(7)
"""


def run(code: str, folder: Path, *arguments: str) -> dict[str, str]:
    """Contents of the files of `model` after a process of this code was ended."""
    (folder / "model").mkdir()
    (folder / "model" / "weights").write_text("old")
    command = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, cwd=folder, env=environment, timeout=60).returncode == 7
    return {path.name: path.read_text() for path in (folder / "model").glob("*")}


@pytest.mark.parametrize("moment", ["old", "new"])
def test_an_interrupted_replacement_leaves_a_whole_folder(tmp_path, moment):
    assert run(CODE, tmp_path, moment) in ({"weights": "old"}, {"weights": "new"})


def test_a_folder_that_was_removed_half_written_is_not_installed_later(tmp_path):
    assert run(LATE, tmp_path) == {"weights": "old"}
