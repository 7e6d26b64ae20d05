"""Page docs/results/bisect.md, from the outcomes of `python -m benchmarks.bisect`."""

from statistics import median

from benchmarks.bisect.incidents import FAULTY, ORDINARY, QUERIES, SEED, TRAIN
from benchmarks.page import ResultPage, bullets, describe_machine, format_goal, table

GOAL, INCIDENTS = 36, 40
TEXTS = {
    "random labels": "a batch of rows with random labels is added",
    "relabelled": "rows of one source and label get the other label",
    "leak": "queries of the slice are added to the training rows",
    "duplicates": "a batch of eight copies of rows of one source and label is added",
    "removed slice": "nine of ten rows of one source and label are removed",
    SEED: "only the seed and the ordinary changes",
}


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on bisected incidents."""
    outcomes = result["incidents"]
    faulty = [each for each in outcomes if each["fault"] != SEED]
    alone = [each for each in outcomes if each["fault"] == SEED]
    first = sum(each["place"] == 1 for each in faulty)
    blamed = sum(each["blames_guilty"] for each in faulty)
    innocent = sum(each["blames_innocent"] for each in outcomes)
    wrong = sum(each["blames_innocent"] for each in alone)
    right = first + len(alone) - wrong
    goal = format_goal(right >= GOAL and not wrong)
    if len(outcomes) < INCIDENTS:
        goal = f"not decided, {len(outcomes)} are measured"
    return [
        ResultPage(
            name="bisect",
            title="Which change broke it",
            question="Does `fastif bisect` find the group of training rows that changed a slice?",
            answer=(
                f"In {right} of {len(outcomes)} incidents (goal {GOAL} of {INCIDENTS}: "
                f"{goal}): the guilty group is first in {first} of "
                f"{len(faulty)}, and where only the seed differs a group is blamed in {wrong} of "
                f"{len(alone)}."
            ),
            headline=f"guilty group first in {first} of {len(faulty)}, seed blamed {wrong} times",
            tables=[
                _table(outcomes),
                f"Confirmed: the retraining without the change of the first suspect moved the loss "
                f"by more than the noise of retraining. {blamed} of {len(faulty)} guilty groups "
                f"are confirmed, and {innocent} innocent ones.",
            ],
            measured=_describe(result),
            tried=_list_failures(faulty),
        )
    ]


def _table(outcomes: list[dict]) -> str:
    head = ["fault", "incidents", "guilty first", "confirmed", "innocent blamed"]
    head += ["change, nats", "contribution", "innocent"]
    rows = []
    for fault, text in TEXTS.items():
        each = [outcome for outcome in outcomes if outcome["fault"] == fault]
        if not each:
            continue
        is_fault = fault != SEED
        rows.append(
            [
                text,
                f"{len(each)}",
                f"{sum(outcome['place'] == 1 for outcome in each)}" if is_fault else "-",
                f"{sum(outcome['blames_guilty'] for outcome in each)}" if is_fault else "-",
                f"{sum(outcome['blames_innocent'] for outcome in each)}",
                f"{_median(each, 'change'):.3f}",
                f"{_median(each, 'contribution'):.3f}" if is_fault else "-",
                f"{_median(each, 'largest_other'):.3f}",
            ]
        )
    return table(head, rows)


def _median(outcomes: list[dict], name: str) -> float:
    return median(abs(outcome[name]) for outcome in outcomes)


def _describe(result: dict) -> str:
    seconds = [each["seconds"] for each in result["incidents"]]
    return bullets(
        "Command: `python -m benchmarks.bisect`.",
        f"Hardware, {describe_machine(result)}.",
        f"Data: {_list_data(result['incidents'])}; {TRAIN} training rows and {QUERIES} "
        "queries, sampled anew for each incident. Sources and slices are four clusters of the "
        f"sentence embeddings. {result['recipe']}",
        f"Every night has ordinary changes: three batches of {ORDINARY} new rows, "
        f"{ORDINARY // 2} rows removed, {ORDINARY // 4} rows labelled again at random. Faults are "
        f"of {FAULTY} rows, random labels of {3 * FAULTY}.",
        "The slice is that of the fault; all queries for random labels and the seed. Changes and "
        "contributions in the table are medians of absolute values; innocent: the largest "
        "contribution of an innocent group.",
        "Both runs of a fault have one seed; those of a seed alone have two.",
        f"The bisection with its two retrainings took {median(seconds):.1f} s (median), on a "
        "machine with other work.",
        "Sizes of the faults, recipe and the rule of confirmation were chosen on incidents of "
        "other seeds of SST-2 (`--development`), not on these. Recipes without this penalty were "
        "dropped, since random labels did not raise the loss with them.",
    )


def _list_data(outcomes: list[dict]) -> str:
    names = {"sst2": "SST-2", "ag_news": "two labels of AG News"}
    counts = {text: sum(each["data"] == name for each in outcomes) for name, text in names.items()}
    return ", ".join(f"{text} ({count} incidents)" for text, count in counts.items() if count)


def _list_failures(faulty: list[dict]) -> str:
    lines = [
        f"{each['data']}, {each['fault']}, seed {each['seed']}: place {each['place']}, change "
        f"{each['change']:+.4f} ± {each['half_width']:.4f}, contribution "
        f"{each['contribution']:+.4f}, largest innocent {each['largest_other']:+.4f}."
        for each in faulty
        if each["place"] != 1
    ]
    return bullets("Incidents in which the guilty group is not first:", *lines) if lines else ""
