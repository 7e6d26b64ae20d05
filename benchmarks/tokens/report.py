"""Page of the average precision of wrong spans."""

from benchmarks.page import ResultPage, bullets, describe_machine, table

NAME = "tokens"
METHODS = (
    "fastif",
    "fastif, given probabilities",
    "loss",
    "cleanlab, self-confidence",
    "cleanlab, normalized margin",
)
PEERS = METHODS[2:]
TRIED = (
    "- Where the search falls behind: on CoNLL++ test with boundary noise (seed 0, given "
    "probabilities) its probabilities sum to 0.1 errors, where 61 were injected. The rate of "
    "errors of one kind alone is not estimated, so they are not calibrated there. Of the "
    "first 200 places 55 are missed spans; among given spans alone the average precision is 0.540, "
    "against 0.708 of the loss. Inspected once, by hand; nothing was changed after it."
)


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page of the kept result."""
    entries = result["entries"]
    means = {name: _average([e["precision"][name] for e in entries]) for name in METHODS}
    best = max(PEERS, key=lambda name: means[name])
    ahead = sum(_is_ahead(entry) for entry in entries)
    losses = [
        f"{entry['title']}, {entry['noise']}, seed {entry['seed']}"
        for entry in entries
        if not _is_ahead(entry)
    ]
    head = ("table", "noise", "seed", "spans", "errors", *METHODS)
    rows = [
        [
            *(f"{entry[key]}" for key in ("title", "noise", "seed", "given", "errors")),
            *(f"{entry['precision'][name]:.3f}" for name in METHODS),
        ]
        for entry in entries
    ]
    figure = f"average precision {means['fastif']:.3f}, against {means[best]:.3f}"
    return [
        ResultPage(
            NAME,
            "Wrong spans of tagged sentences",
            "Does the search for wrong spans find more of them than the loss of the tags?",
            f"The mean {figure} of the best other method ({best}). The search is ahead of all "
            f"three in {ahead} of {len(entries)} cases; it is behind in: "
            f"{'; '.join(losses) or 'none'}.",
            f"Mean {figure} of {best}",
            [table(head, rows, 2)],
            _describe(result),
            TRIED,
        )
    ]


def _describe(result: dict) -> str:
    return bullets(
        f"{result['sentences']} random sentences of each table. Noise of one kind at a time: "
        f"errors in {result['rate']:.0%} of the spans, or (automatic) all annotations by a "
        "dictionary of the spans of as many other sentences of the same table.",
        "The four kinds are injected by the mechanism that the search itself learns from, with "
        "another seed and rate and one kind at a time. That favours the search; the automatic "
        "noise does not.",
        "All methods have the same out-of-fold probabilities of tags, by heads on surface "
        "features without an encoder, fitted to the noisy tags in 5 folds. The search fits heads "
        "once more to the sentences with errors of its own; with given probabilities it "
        "does not.",
        "Loss and cleanlab's token scores rank a span by its worst word, and every word outside of "
        "all spans by itself. A missed span counts once, at the first place that overlaps it, and "
        "an error at no place counts as never found: the search lists no unlikely span, while the "
        "others list every word. Self-confidence ranks as the loss does.",
        "The given annotations of the tables are taken as the truth, with the errors they have. "
        "No setting was selected on these tables for this page.",
        describe_machine(result),
        "`python -m benchmarks.tokens --data FOLDER --seed 0` (and 1), with cleanlab and the files "
        "conllpp_test.txt and wnut17train.conll",
    )


def _is_ahead(entry: dict) -> bool:
    precision = entry["precision"]
    return precision["fastif"] > max(precision[name] for name in PEERS)


def _average(values: list[float]) -> float:
    return sum(values) / len(values)
