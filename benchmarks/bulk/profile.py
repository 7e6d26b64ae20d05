"""Time of an audit by kind of work, with an earlier version of the project and with this one.

`python -m benchmarks.bulk.profile` audits the built-in example three times: with an earlier version
(a commit in a separate checkout), with this version, and with this version, the curvature of all
rows and a full scan. Each version trains its model first, which is not counted. It writes
benchmarks/results/bulk-profile.json and docs/results/profile.md, and needs the git history.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.bulk.profile_report import build_pages
from benchmarks.machine import describe
from benchmarks.page import ROOT, publish

WORK = ROOT / "benchmarks" / ".work" / "profile"
BEFORE = "5689ac081150651c9b1b3e86f74377c803b18289"
"""Last commit before low-rank projection of sketches, shared gradients and forecasts."""

WHOLE = ((r"^rows = .*$", ""), (r"(?s)\[candidates\].*?\n\n", '[candidates]\nkind = "full"\n\n'))
"""Changes of the study file for the curvature of all rows and a full scan."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.bulk.profile")
    parser.add_argument("--before", default=BEFORE, help="the commit to compare with")
    options = parser.parse_args()
    result = {
        "commit": options.before,
        "before": run_profile(check_out(options.before), "before"),
        "after": run_profile(ROOT, "after"),
        "whole": run_profile(ROOT, "whole", WHOLE),
        "machine": describe(),
    }
    publish("bulk-profile", result, build_pages(result))
    return 0


def check_out(commit: str) -> Path:
    """Check out the files of a commit into the work folder."""
    folder = WORK / "checkout"
    if not folder.is_dir():
        command = ["git", "worktree", "add", "--detach", str(folder), commit]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def run_profile(version: Path, name: str, edits: tuple[tuple[str, str], ...] = ()) -> dict:
    """Train and audit a copy of the example with one version of the project."""
    study = WORK / name / "study.toml"
    shutil.rmtree(study.parent, ignore_errors=True)
    ignored = shutil.ignore_patterns("out")
    shutil.copytree(version / "examples" / "nli", study.parent, ignore=ignored)
    text = study.read_text("utf-8")
    for pattern, new in edits:
        text = re.sub(pattern, new, text, count=1, flags=re.MULTILINE)
    study.write_text(text, "utf-8")
    if edits:  # equal model, no training needed
        shutil.copytree(WORK / "after" / "out" / "model", study.parent / "out" / "model")
    out = WORK / f"{name}.json"
    for command in (["train"], ["audit"]):
        print(f"{name}: {command[0]}", file=sys.stderr, flush=True)
        _run(version, out, [*command, str(study)])
    return json.loads(out.read_text("utf-8"))


def _run(version: Path, out: Path, arguments: list[str]) -> None:
    sampler = ROOT / "benchmarks" / "bulk" / "sampler.py"
    command = [sys.executable, "-P", str(sampler), str(out), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(version), "PREFECT_HOME": str(WORK / "prefect")}
    subprocess.run(command, cwd=version, env=environment, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
