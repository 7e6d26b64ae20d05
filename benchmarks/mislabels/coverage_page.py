"""Page docs/results/label-error-count.md, written from the kept result."""

from benchmarks.mislabels import report_texts as texts
from benchmarks.page import ResultPage, bullets, describe_machine, join_parts, table

COVERAGE, WIDTH = 0.88, 0.6
"""Goals: least share of samples whose intervals hold, and largest width relative to Wilson's."""


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on the number of label errors."""
    sets = result["sets"]
    inside = [entry["inside"] for entry in sets.values()]
    labels = [share for entry in sets.values() for share in entry["labels_inside"]]
    ratios = [entry["width"] / entry["wilson"] for entry in sets.values()]
    shares = f"{min(inside):.1%} to {max(inside):.1%}"
    first = next(iter(sets.values()))
    page = ResultPage(
        name="label-error-count",
        title="Number of label errors",
        question="How many labels are wrong, by a random audit sample of a hundred rows?",
        answer=(
            f"The 90 % intervals hold after every verdict in {shares} of {first['trials']:,} "
            f"samples, those of single labels in at least {min(labels):.1%}. After "
            f"{first['verdicts']} verdicts they are {min(ratios):.2f} to {max(ratios):.2f} times "
            "as wide as Wilson's for a simple random sample, which may be read once only. The goal "
            f"of {WIDTH} is reached on {sum(ratio <= WIDTH for ratio in ratios)} of {len(sets)} "
            f"sets; on {sum(_least(entry) > WIDTH for entry in sets.values())} it is out of reach "
            "for any unbiased method with this ranking."
        ),
        headline=f"{first['verdicts']} verdicts: intervals hold in {shares}",
        tables=[_coverage_table(sets), _width_table(sets)],
        measured=bullets(
            "Command: `python -m benchmarks.mislabels.coverage`; sets, features and method as for "
            "the [ranking](label-errors.md).",
            f"Hardware, {describe_machine(result)}.",
            *texts.COUNT,
        ),
        tried=join_parts(texts.COUNT_TRIED, bullets(*texts.COUNT_ATTEMPTS)),
    )
    return [page]


def _least(entry: dict) -> float:
    return entry["least"] / entry["wilson"]


def _coverage_table(sets: dict) -> str:
    head = ["set", "rows", "errors", "samples that hold", "by label: mean", "lowest"]
    rows = []
    for name, entry in sets.items():
        labels = entry["labels_inside"]
        cells = (entry["inside"], sum(labels) / len(labels), min(labels))
        marks = (f"{share:.1%}{'' if share >= COVERAGE else ' **below**'}" for share in cells)
        rows.append([name, f"{entry['rows']:,}", f"{entry['wrong']:,}", *marks])
    return table(head, rows)


def _width_table(sets: dict) -> str:
    head = ["width after 100 verdicts, rows", "weighted", "simple random sample"]
    head += ["Wilson, one look", "weighted / Wilson", "weighted / simple", "least / Wilson"]
    rows = []
    for name, entry in sets.items():
        widths = (entry["width"], entry["simple"], entry["wilson"])
        ratios = (entry["width"] / entry["wilson"], entry["width"] / entry["simple"], _least(entry))
        rows.append([name, *(f"{w:,.0f}" for w in widths), *(f"{r:.2f}" for r in ratios)])
    return table(head, rows)
