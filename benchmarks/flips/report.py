"""Page of the flips that came true when the model was trained again."""

from collections.abc import Callable, Sequence
from statistics import median

import torch

from benchmarks.page import ResultPage, bullets, describe_machine, format_goal, table
from fastif.numerics.mean_confidence_interval import mean_confidence_interval

NAME = "flips"
GOAL = 0.8
HEAD = (
    "model, edit",
    "queries",
    "claimed",
    "rows, median",
    "came true",
    "95 % interval",
    "first order",
    "random sets",
)


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page of the kept result."""
    subjects = result["subjects"]
    outcomes = [each for entry in subjects.values() for each in entry["outcomes"]]
    claimed = [each for each in outcomes if each["is_claimed"]]
    true, random = _share(claimed, _is_true), _share_random(claimed)
    rows = [
        _make_row(f"{entry['title']}: {'relabelled' if relabel else 'removed'}", entry, relabel)
        for entry in subjects.values()
        for relabel in (False, True)
    ]
    return [
        ResultPage(
            NAME,
            "Predicted flips against retraining",
            "Do the flips that `fastif flip` claims come true when the model is trained again "
            "without the rows, or with their new labels?",
            f"Of {len(claimed)} claimed flips with at most {result['max_rows']} rows, {true:.0%} "
            f"came true; with random sets of the same size {random:.1%} of the predictions "
            f"flipped. The goal of {GOAL:.0%} on each data set is "
            f"{format_goal(all(_reaches(entry) for entry in subjects.values()))}. "
            f"{_describe_tuned(subjects)}",
            f"{true:.0%} of claimed flips came true",
            [table(HEAD, rows), _describe_answers(subjects)],
            _describe(result),
            _describe_attempts(),
        )
    ]


def _make_row(title: str, entry: dict, relabel: bool) -> list[str]:
    outcomes = [each for each in entry["outcomes"] if each["relabel"] == relabel]
    claimed = [each for each in outcomes if each["is_claimed"]]
    first = [each for each in outcomes if each["first_order_real"] is not None]
    if not claimed:
        return [title, f"{len(outcomes)}", "0", "", "", "", "", ""]
    flags = torch.tensor([float(_is_true(each)) for each in claimed])
    low, high = mean_confidence_interval(flags)
    size = median(each["size"] for each in claimed)
    first_true = [each["first_order_real"][0] < 0 for each in first]
    return [
        title,
        f"{len(outcomes)}",
        f"{len(claimed)}",
        f"{size:.0f}",
        f"{int(flags.sum())} ({float(flags.mean()):.0%})",
        f"{low:.0%} to {high:.0%}",
        f"{sum(first_true)} of {len(first_true)}",
        _count_random(claimed),
    ]


def _is_true(outcome: dict) -> bool:
    return outcome["real"][0] < 0


def _share(outcomes: Sequence[dict], holds: Callable[[dict], bool]) -> float:
    return sum(map(holds, outcomes)) / max(1, len(outcomes))


def _share_random(claimed: Sequence[dict]) -> float:
    flips = [margin < 0 for each in claimed for margin in each["random_real"]]
    return sum(flips) / max(1, len(flips))


def _count_random(claimed: Sequence[dict]) -> str:
    flips = [margin < 0 for each in claimed for margin in each["random_real"]]
    return f"{sum(flips)} of {len(flips)}"


def _reaches(entry: dict) -> bool:
    claimed = [each for each in entry["outcomes"] if each["is_claimed"]]
    return _share(claimed, _is_true) >= GOAL


def _describe_tuned(subjects: dict) -> str:
    """Return how far the answer that there is no set can be trusted on a fine-tuned model."""
    outcomes = [
        each for name, entry in subjects.items() if "tuned" in name for each in entry["outcomes"]
    ]
    none = [each for each in outcomes if not each["is_claimed"]]
    wrong = sum(each["real"][0] < 0 for each in none)
    return (
        f"{len(outcomes) - len(none)} of the claims are of fine-tuned models, whose margins moved "
        "further than predicted: sets are larger than they need be, and the answer that there is "
        f"no set was wrong in {wrong} of {len(none)} cases."
    )


def _describe_answers(subjects: dict) -> str:
    """Return what retraining says of the answer that there is no set, and of the margins."""
    lines = []
    for entry in subjects.values():
        none = [each for each in entry["outcomes"] if not each["is_claimed"]]
        stays = sum(each["real"][0] >= 0 for each in none)
        gaps = [abs(each["predicted"] - each["real"][0]) for each in entry["outcomes"]]
        line = f"{entry['title']}: median error of the predicted margin {median(gaps):.2g} logits."
        if none:
            line += (
                f" Where no set of 50 rows was claimed, the best rows left the prediction as it is "
                f"in {stays} of {len(none)} retrainings."
            )
        lines.append(line)
    return bullets(*lines)


def _describe(result: dict) -> str:
    return bullets(
        f"Heads: softmax regression on frozen embeddings of MiniLM (SST-2: 384 numbers; MultiNLI: "
        f"{result['components']} principal components of both embeddings, their difference and "
        f"their product), L2 penalty {result['penalty']:g}, {result['rows']:,} training rows, "
        "trained to convergence in double precision. This is convex: the retrained model is "
        "unique, and Newton steps can reach it. It is no evidence for a fine-tuned encoder.",
        f"Pooler and classifier of MiniLM: `fastif train`, AdamW, {result['epochs']} epochs, "
        f"learning rate {result['rate']:g}, {result['tuned_rows']:,} training rows; damping by "
        "retraining on halves, as a study chooses it. Not converged, and not convex. A flip came "
        "true if the retraining with the seed of the model predicts another label.",
        "Queries: random rows of the development sets; their labels are not used. Claimed: the set "
        "that `find_flip_set` returns, at most 50 rows. First order: the smallest set whose "
        "effects add up to the margin, where it has at most 50 rows. Random sets: as many rows "
        "removed, or relabelled to a random other label, two for each claim of a head, one for "
        "each of a fine-tuned model.",
        "Intervals: Clopper-Pearson, over queries.",
        "Data: Stanford Sentiment Treebank and MultiNLI, from FASTIF_DATA.",
        describe_machine(result),
        "`python -m benchmarks.flips`",
    )


def _describe_attempts() -> str:
    return bullets(
        "One Newton step alone: on a softmax regression of 300 rows and three classes, 20 of 40 "
        "relabelled sets and 30 of 34 removed ones came true. Relabelling moves the outputs of the "
        "other rows far enough to change their curvature.",
        "Further steps with a fixed matrix diverged for large relabelled sets; BFGS from the same "
        "matrix did not.",
    )
