"""Page docs/results/label-errors.md, written from the kept result."""

from collections.abc import Callable
from statistics import median

from benchmarks.mislabels import report_texts as texts
from benchmarks.page import (
    ResultPage,
    bullets,
    describe_machine,
    format_goal,
    join_parts,
    table,
)

CALIBRATION = 0.05
"""Calibration error that is accepted."""
RIVALS = {"loss of a head that has seen the row": "in-sample loss of a head"}
"""Words for a score, by its name in the result, where they differ."""
NOISY, CLEANLAB = "noisy_ag_news", "cleanlab, self confidence"


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on the ranking of label errors."""
    return [_ranking_page(result)]


def _ranking_page(result: dict) -> ResultPage:
    sets = result["sets"]
    ap = sets[NOISY]["procedure"]["ap"]
    cleanlab = sets[NOISY]["rivals"].get(CLEANLAB)
    than = f", {cleanlab['ap']:.3f} with cleanlab" if cleanlab else ""
    over_rivals, over_columns = (_count_wins(sets, scores) for scores in (_rival_scores, _columns))
    parts = [_main_table(sets), _precision_table(sets), *_verified(result)]
    parts += [_calibration_table(sets), texts.CALIBRATION]
    parts += _cleaning(result["cleaning"]) if "cleaning" in result else []
    return ResultPage(
        name="label-errors",
        title="Ranking of label errors",
        question="How well are wrong labels ranked, on real and on injected label noise?",
        answer=(
            f"On NoisyAG-News, labelled by people, average precision is {ap:.3f}{than}. It is "
            "above in-sample loss, 5-fold loss and cleanlab on "
            f"{over_rivals} of {len(sets)} sets, and above each single column on {over_columns}. "
            f"The lowest is `lingnli` with {sets['lingnli']['procedure']['ap']:.3f}."
        ),
        headline=f"average precision {ap:.3f} on NoisyAG-News{than}",
        tables=parts,
        measured=join_parts(
            bullets(
                "Command: `python -m benchmarks.mislabels`.",
                f"Hardware, {describe_machine(result)}.",
                *texts.METHOD,
            ),
            f"What was chosen on what:\n\n{bullets(*texts.CHOICES)}",
        ),
        tried=join_parts(
            f"Average precision of each score alone:\n\n{_scores(sets)}",
            f"Other settings, on `hausa`:\n\n{bullets(*texts.HAUSA)}",
            f"A classifier as a further ensemble member:\n\n{bullets(*texts.CLASSIFIER)}",
        ),
    )


def _count_wins(sets: dict, scores: Callable[[dict], list[float]]) -> int:
    return sum(entry["procedure"]["ap"] > max(scores(entry)) for entry in sets.values())


def _rival_scores(entry: dict) -> list[float]:
    return [rival["ap"] for rival in entry["rivals"].values()]


def _columns(entry: dict) -> list[float]:
    return list(entry["signals"].values())


def _ap(result: dict | None) -> str:
    return f"{result['ap']:.3f} ({result['low']:.3f} - {result['high']:.3f})" if result else ""


def _goal(result: dict | None, goal: float | None) -> str:
    if result is None or goal is None:
        return ""
    return f"{goal:g}: {format_goal(result['ap'] >= goal)}"


def _main_table(sets: dict) -> str:
    head = ["set", "rows", "wrong", "average precision", "goal", "with trusted rows", "goal"]
    rows = []
    for name, entry in sets.items():
        result, trusted = entry["procedure"], entry.get("trusted")
        rows.append(
            [
                name,
                f"{entry['rows']:,}",
                f"{entry['wrong'] / entry['rows']:.1%}",
                _ap(result),
                _goal(result, entry["goals"][0]),
                _ap(trusted),
                _goal(trusted, entry["goals"][1]),
                _three(entry["reference"]),
            ]
        )
    return table([*head, "reference"], rows)


def _precision_table(sets: dict) -> str:
    head = ["set", "AUROC", "precision at the number of errors", "in the top 1 %", "5 %"]
    rows = []
    for name, entry in sets.items():
        result = entry["procedure"]
        top = (f"{result['precision'][key]:.3f}" for key in ("wrong", "1 %", "5 %"))
        rows.append([name, f"{result['auroc']:.3f}", *top, f"{entry['seconds']:.1f}"])
    return table([*head, "seconds"], rows)


def _calibration_table(sets: dict) -> str:
    head = ["set", "calibration error", "with trusted rows"]
    rows = []
    for name, entry in sets.items():
        results = (entry["procedure"], entry.get("trusted"))
        cells = (_calibration(r["calibration_error"]) if r else "" for r in results)
        rows.append([name, *cells])
    return table(head, rows)


def _calibration(error: float) -> str:
    return f"{error:.3f}" + ("" if error < CALIBRATION else f" **above {CALIBRATION}**")


def _scores(sets: dict) -> str:
    rivals = list(dict.fromkeys(name for entry in sets.values() for name in entry["rivals"]))
    signals = list(dict.fromkeys(name for entry in sets.values() for name in entry["signals"]))
    rows = [
        [
            "**the procedure**",
            *(f"**{entry['procedure']['ap']:.3f}**" for entry in sets.values()),
        ]
    ]
    for name in rivals:
        cells = (entry["rivals"].get(name, {}).get("ap") for entry in sets.values())
        rows.append([f"{RIVALS.get(name, name)}, MiniLM or pixels alone", *map(_three, cells)])
    for name in signals:
        cells = (entry["signals"].get(name) for entry in sets.values())
        rows.append([f"column `{name}`", *map(_three, cells)])
    return table(["average precision", *sets], rows)


def _three(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _verified(result: dict) -> list[str]:
    """Return the ranks of the verified test errors of MNIST and IMDB, as far as measured."""
    rows = []
    for key, name in (("mnist_test", "MNIST test digits"), ("imdb_test", "IMDB test reviews")):
        if key not in result:
            continue
        ranks, count = result[key]["ranks"], result[key]["rows"]
        tops = [sum(rank <= share * count for rank in ranks) for share in (0.01, 0.05, 0.1)]
        is_older = key == "imdb_test" and not result[key].get("middle_layer")
        note = " (last layer and words alone)" if is_older else ""
        cells = [count, len(ranks), *tops, median(ranks), ranks[-1]]
        rows.append([name + note, *(f"{cell:,.0f}" for cell in cells)])
    head = ["verified errors of", "rows", "errors", "in the top 1 %", "5 %", "10 %"]
    return [table([*head, "median rank", "last rank"], rows)] if rows else []


def _cleaning(result: dict) -> list[str]:
    names = [name for name in result if name not in ("rows", "changed", "tested")]
    return [
        table(["a head trained with", "accuracy"], [[n, f"{result[n]:.1%}"] for n in names]),
        f"`noisy_ag_news`: the {result['changed']:,} rows of {result['rows']:,} with the highest "
        "posterior probability of a wrong label were dropped or relabelled. Accuracy on "
        f"{result['tested']:,} clean test rows; one point is about its standard error.",
    ]
