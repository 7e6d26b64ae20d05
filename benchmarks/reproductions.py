"""Reproductions of published experiments, and pages docs/results/reproduce-*.md.

`python -m benchmarks.reproductions` runs `fastif reproduce` for each experiment (cached steps are
reused) and copies the tables and plots into the documentation.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.page import ResultPage, bullets, publish
from tasks.experiments.registry import EXPERIMENTS
from tasks.experiments.result import RESULT, describe_run, render_plots, render_tables

WORK = Path("benchmarks/.work/reproductions")
IMAGES = Path("docs/images/reproduce")
LINKED_IMAGES = "../images/reproduce/"
SUMMARIES = {
    "outliers": (
        "Which points of a regression line act most on a prediction?",
        "The largest effects are those of {0}. Influence against retraining: {2}.",
        2,
    ),
    "digits": (
        "Do LiSSA and the inverse agree, and influence and retraining, in a convex model?",
        "LiSSA against the inverse: {0}. Influence against retraining: {1}.",
        1,
    ),
    "hinge": (
        "Does a smooth hinge let influence work for a support vector machine?",
        "Yes: {0}.",
        0,
    ),
    "labels": (
        "Does influence on all test points detect injected label flips?",
        "Yes: {0}.",
        0,
    ),
    "response": (
        "What does influence predict for a network that has not converged?",
        "The proximal Bregman response ({1}), not retraining without the row ({0}).",
        1,
    ),
    "table1": (
        "How much faster is an explanation with kNN, a fast s_test, several cores or sketches?",
        "The three methods of the paper together are faster by {3}, sketches by {4}.",
        3,
    ),
    "recall": (
        "How many of the most influential rows are among the nearest neighbours?",
        "With 12.7 % of the rows as candidates kNN finds {1}; with 5 % sketches find {3}.",
        1,
    ),
    "settings": (
        "Does the fast mode of LiSSA give the scores of the full mode?",
        "At the damping of the paper: {0}. Against a converged solve at λ = 0.1 it has {1}, and "
        "fastif {2}.",
        1,
    ),
    "removal": (
        "Does the loss of a query change as predicted after retraining without influential rows?",
        "Without the 100 most helpful rows the loss changes by {0}, without the 100 most harmful "
        "by {1}.",
        0,
    ),
    "simulatability": (
        "Do influential rows help a simulator to predict the model?",
        "Helpful rows of correct predictions change its loss by {0}, harmful rows of wrong ones by "
        "{1}.",
        0,
    ),
    "visualisation": (
        "How do training rows act on wrong predictions of HANS and MultiNLI?",
        "The share of helpful rows is {0}. The influences of a row on two slices of HANS have a "
        "correlation of {2}.",
        2,
    ),
    "parts": (
        "Which layers contribute to the effect of a training row?",
        "The {0}. The head alone: {1}.",
        0,
    ),
    "correction": (
        "Do steps on influential rows correct errors on HANS more than steps on the failure set?",
        "On training rows the gain over the failure set is {0}, on HANS rows not seen in training "
        "{1}.",
        0,
    ),
    "reviews": (
        "Do steps on influential rows change the accuracy on reviews without a shift?",
        "Steps on helpful rows change it by {0}, steps on harmful rows by {2}.",
        2,
    ),
}
"""Question, answer and number of the main claim by experiment; {i} is the result of claim i."""
TRIED = {"response": (1,), "correction": (2, 3)}
"""Numbers of the notes on other settings, by experiment; the other notes describe the run."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.reproductions")
    parser.add_argument("--scale", choices=("small", "full"), default="small")
    parser.add_argument("--only", default="", help="experiments with this text in their name")
    options = parser.parse_args()
    for name in EXPERIMENTS:
        if options.only in name:
            command = [sys.executable, "-m", "flows.cli", "reproduce", name]
            command += ["--scale", options.scale, "--out", str(WORK)]
            subprocess.run(command, check=True)
    publish_results()


def publish_results() -> None:
    """Publish the results that exist, of each experiment that of the larger scale."""
    results = {}
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name in EXPERIMENTS:
        folders = [WORK / f"{name}-{scale}" for scale in ("full", "small")]
        folder = next((candidate for candidate in folders if (candidate / RESULT).is_file()), None)
        if folder is not None:
            results[name] = json.loads((folder / RESULT).read_text("utf-8"))
            for plot in results[name]["plots"]:
                shutil.copy(folder / f"{plot}.svg", IMAGES / f"{plot}.svg")
    publish("reproductions", results, build_pages(results))


def build_pages(results: dict) -> list[ResultPage]:
    """Return a page for each experiment with a result."""
    return [_experiment_page(name, record) for name, record in results.items()]


def _experiment_page(name: str, record: dict) -> ResultPage:
    question, answer, main_claim = SUMMARIES[name]
    claims = record["claims"]
    decided = [claim["holds"] for claim in claims if claim["holds"] is not None]
    outcome = (
        f"{sum(decided)} of {len(decided)} claims reproduced" if decided else "no published claims"
    )
    ours = [claim["ours"] for claim in claims]
    tried = [record["notes"][i] for i in TRIED.get(name, ())]
    notes = [note for note in record["notes"] if note not in tried]
    return ResultPage(
        name=f"reproduce-{name}",
        title=record["title"],
        question=question,
        answer=f"{answer.format(*ours)} {outcome.capitalize()}.",
        headline=f"{ours[main_claim]}; {outcome}",
        tables=[*render_tables(record), *render_plots(record, LINKED_IMAGES)],
        measured=bullets(describe_run(record), *notes),
        tried=bullets(*tried) if tried else "",
    )


if __name__ == "__main__":
    main()
