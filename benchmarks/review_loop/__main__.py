"""The whole review loop on NoisyAG-News as one command.

`python -m benchmarks.review_loop` reads noisy_ag_news under FASTIF_DATA. By the product's own
command line it trains, audits and searches for wrong labels; a reviewer in a real Chromium, who
knows the right labels, decides on rows of the report page by keys; the page's export is imported
and applied; and the corrected table is trained and audited again. Then the study's head is
retrained after so many verdicts in several orders. The right labels of the training rows are
verdicts and scores only.
"""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

import torch

from benchmarks.machine import describe
from benchmarks.page import publish, read_result, render_pages
from benchmarks.review_loop.evidence import collect_result
from benchmarks.review_loop.report import build_pages
from benchmarks.review_loop.reviewer import find_browser
from benchmarks.review_loop.rounds import Loop
from benchmarks.review_loop.study import LABELS, News, read_news, write_study

WORK = Path("benchmarks/.work/review-loop")
FULL = {"rows": 5000, "queries": 1000, "tested": 3000, "verdicts": 300, "rounds": 3, "seeds": 5}
QUICK = {"rows": 300, "queries": 60, "tested": 200, "verdicts": 20, "rounds": 2, "seeds": 2}
RESULT = "review-loop"


def main() -> None:
    options = parse_options()
    if options.page:
        result = read_result(RESULT)
        publish(RESULT, result, build_pages(result))
        return
    data = Path(os.environ.get("FASTIF_DATA", ""))
    if not (data / "noisy_ag_news").is_dir():
        sys.exit("FASTIF_DATA must name the folder with noisy_ag_news/")
    torch.set_num_threads(1)
    size = QUICK if options.quick else FULL | {"rows": options.rows, "queries": options.queries}
    folder = WORK / f"{size['rows']}-{size['queries']}"
    news = read_news(data, size["rows"], size["queries"], size["tested"])
    if options.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    loop = run_loop(folder, data, news, size)
    result = collect_result(loop, news, folder, size)
    result |= {"note": options.note, "machine": describe()}
    if options.quick:
        print(json.dumps(result, indent=1))
        print(render_pages(build_pages(result)))
    else:
        publish(RESULT, result, build_pages(result))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.review_loop")
    parser.add_argument("--quick", action="store_true", help="a smoke test; writes no result")
    parser.add_argument("--rows", type=int, default=FULL["rows"], help="training rows, to 5,000")
    parser.add_argument("--queries", type=int, default=FULL["queries"], help="queries, to 1,000")
    parser.add_argument("--fresh", action="store_true", help="do not continue an earlier loop")
    parser.add_argument("--page", action="store_true", help="only write the page again")
    parser.add_argument("--note", default="", help="remark on the machine, for the page")
    return parser.parse_args()


def run_loop(folder: Path, data: Path, news: News, size: dict[str, int]) -> dict:
    """Run the loop in a folder, or continue it, and return its evidence."""
    find_browser()
    if not (folder / "study.toml").is_file():
        write_study(folder, data, size["rows"], size["queries"])
    os.environ["PREFECT_HOME"] = str((WORK / "prefect").absolute())
    names = [LABELS[label] for label in news.truth.tolist()]
    right_labels = dict(zip(news.ids, names, strict=True))
    return Loop(folder, right_labels, size["verdicts"], size["rounds"]).run()


if __name__ == "__main__":
    main()
