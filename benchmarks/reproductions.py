"""The sources' experiments, one after the other, and their section of docs/results.md.

`python -m benchmarks.reproductions` runs `fastif reproduce` for each (what is there is not done
again) and puts tables and plots where the documents have them.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.page import publish
from tasks.experiments.registry import EXPERIMENTS
from tasks.experiments.result import RESULT, render_result_markdown

WORK = Path("benchmarks/.work/reproductions")
IMAGES = Path("docs/images/reproduce")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.reproductions")
    parser.add_argument("--scale", choices=("small", "full"), default="small")
    parser.add_argument("--only", default="", help="experiments with this in their name")
    options = parser.parse_args()
    for name in EXPERIMENTS:
        if options.only in name:
            command = [sys.executable, "-m", "flows.cli", "reproduce", name]
            command += ["--scale", options.scale, "--out", str(WORK)]
            subprocess.run(command, check=True)
    publish_results()


def publish_results() -> None:
    """Results that are there into the documents; of each experiment that of the larger scale."""
    results = {}
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name in EXPERIMENTS:
        folders = [WORK / f"{name}-{scale}" for scale in ("full", "small")]
        folder = next((candidate for candidate in folders if (candidate / RESULT).is_file()), None)
        if folder is not None:
            results[name] = json.loads((folder / RESULT).read_text("utf-8"))
            for plot in results[name]["plots"]:
                shutil.copy(folder / f"{plot}.svg", IMAGES / f"{plot}.svg")
    publish("reproductions", results, section(results))


def section(results: dict) -> str:
    """The section as Markdown."""
    head = (
        "## The sources' experiments, done again\n\n`fastif reproduce NAME` (`python -m "
        "benchmarks.reproductions` for all); what a source says, its number, and ours. A result "
        "that does not reproduce stays here as one that does not.\n"
    )
    parts = [render_result_markdown(result, "images/reproduce/") for result in results.values()]
    return "\n".join([head, *parts])


if __name__ == "__main__":
    main()
