"""Imports of the commands that answer at once: none of the libraries that take seconds."""

import json
import subprocess
import sys

import handmade_runs
import pytest
import tiny

SLOW = {"torch", "transformers", "prefect", "faiss", "scipy", "altair", "datasets", "jaxtyping"}
SLOW |= {"pandas", "matplotlib", "sklearn"}

PROGRAM = """
import json, sys
from flows.cli.app import main
sys.argv = ["fastif", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit as end:
    code = end.code
print("\\n" + json.dumps([code or 0, sorted(sys.modules)]))
"""


def run_in_process(folder, *words: str) -> tuple[int, str, set[str]]:
    """Exit code, printed text and imported packages of a command in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(words)],
        cwd=folder,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "", "COLUMNS": "100"},
        capture_output=True,
        text=True,
    )
    *text, last = done.stdout.strip().splitlines()
    code, modules = json.loads(last)
    return code, "\n".join([*text, done.stderr]), {name.partition(".")[0] for name in modules}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study with a finished run, and a faulty one."""
    folder = tmp_path_factory.mktemp("by-hand")
    tiny.write_study(folder, top={"name": handmade_runs.STUDY})
    rows = [handmade_runs.Row(f"row-{i}", f"text {i}") for i in range(4)]
    handmade_runs.write_run(handmade_runs.open_store(folder), "by-hand-1", rows, rows[:2])
    faults = {"curvature": {"dampign": 0.1}, "solver": {"kind": "lissa", "batch": 0}}
    tiny.write_study(folder, "faulty.toml", **faults)
    return folder


@pytest.mark.default_cases(
    "['--help']-0-Usage",
    "['runs']-0-by-hand-1",
    "['show', 'row-1']-0-text 1",
    "['diff', 'latest', 'by-hand-1']-0-Next: fastif report by-hand-1",
    "['review', 'import', 'review.csv']-2-train.csv",
    "['audit', 'faulty.toml']-2-[solver] batch",
)
@pytest.mark.parametrize(
    ("words", "code", "fragment"),
    [
        (["--help"], 0, "Usage"),
        (["audit", "--help"], 0, "--within"),
        (["--version"], 0, "fastif"),
        (["runs"], 0, "by-hand-1"),
        (["top", "row-0"], 0, "text 0"),
        (["show", "row-1"], 0, "text 1"),
        (["verify"], 0, "by-hand-1: intact"),
        (["gc", "--compact"], 0, "Nothing was removed"),
        (["diff", "latest", "by-hand-1"], 0, "Next: fastif report by-hand-1"),
        (["export", "scores", "--out", "scores.csv"], 0, "Wrote 8 rows"),
        (["review", "export", "--out", "review.csv"], 2, "train.csv"),
        (["review", "import", "review.csv"], 2, "train.csv"),
        (["review", "apply", "--dry-run"], 2, "train.csv"),
        (["top", "row-7"], 2, "Did you mean"),
        (["audit", "missing.toml"], 2, "no such file"),
        (["mislabels", "faulty.toml"], 2, 'did you mean "damping"?'),
        (["audit", "faulty.toml"], 2, "[solver] batch"),
    ],
    ids=str,
)
def test_a_command_that_answers_at_once_imports_no_slow_library(folder, words, code, fragment):
    actual, text, packages = run_in_process(folder, *words)
    assert actual == code, text
    assert fragment in text
    assert packages & SLOW == set()
    if "--help" in words or "--version" in words:
        assert packages & {"polars", "pyarrow", "numpy"} == set()


@pytest.mark.long
def test_a_slow_library_would_be_noticed(folder):
    assert "torch" in run_in_process(folder, "doctor", "study.toml")[2]
