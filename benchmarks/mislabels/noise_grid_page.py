"""Page docs/results/label-noise-grid.md, written from the kept result."""

from benchmarks.page import ResultPage, bullets, describe_machine, table

WORSE, BETTER = 0.01, 0.03
"""Differences of average precision beyond which the fused probability is worse, and better."""
RIVALS = ("loss", "adjusted_margin")
"""Columns that the fused probability should not be worse than."""
TITLES = {
    "fused": "fused",
    "loss": "out-of-fold loss",
    "adjusted_margin": "adjusted margin",
    "in_sample_loss": "in-sample loss",
    "neighbours": "kNN disagreement",
}
NOTES = (
    "Of each table at most 800 rows, a random sample; its labels count as right, so an error of "
    "the source counts as a false alarm. One noise of each kind with one seed: a single cell has "
    "an uncertainty of some hundredths.",
    "Kinds: uniform (another class at random), pairs (the next class), one class (40 % of the "
    "largest class becomes the second largest), confusable (the class that a classifier of a "
    "hundred rows prefers, likelier the more it does), weak labels (all labels by a classifier of "
    "a hundred rows), duplicates (a second copy of 30 % of the rows with another label).",
    "Identical texts and images have one true class; equal rows of measured columns need not, so "
    "their copies are ranked one by one.",
    "The rules for the noise transition matrix (forward selection, its price, the tests) were "
    "chosen on these sets, on NoisyAG-News and on Hausa news, so that the figures are optimistic. "
    "Before them the mean was +0.030, the worst -0.166.",
    "Tables that were held out (`python -m benchmarks.mislabels.noise_grid --held-out`): eight "
    "tables without any part in that. At their first measurement the mean was +0.031, the worst "
    "-0.295, and 19 of 56 below -0.01. Then the averaging of matrices and the fits of single cells "
    "were added, because one flipped class failed on four of them; the averaging was decided on "
    "the other sets, with these in view. So their present figures are no held-out ones.",
    "The weight of kNN smoothing by the number of classes was chosen on all of these sets at the "
    "end, and tables of three and more classes were measured again for it (`--only`). Ways that "
    "were tried: [label errors](../concepts/label-errors.md#against-its-own-columns).",
)


def gain(entry: dict) -> float:
    """Return the average precision of the fused probability above the better rival."""
    return entry["ap"]["fused"] - max(entry["ap"][name] for name in RIVALS)


def build_pages(result: dict) -> list[ResultPage]:
    """Return the page on the grid."""
    sets = result["sets"]
    held_out = result.get("held_out", {}).get("sets", {})
    gains = [gain(entry) for entry in sets.values()]
    mean = sum(gains) / len(gains)
    page = ResultPage(
        name="label-noise-grid",
        title="Kinds of label noise",
        question="Is the fused probability ever worse than the columns that it is made of?",
        answer=(
            f"Yes, sometimes. On {len(sets)} sets its average precision is {_describe(gains)}."
            + (
                f" On {len(held_out)} sets of eight tables that were held out at first: "
                if held_out
                else ""
            )
            + (f"{_describe([gain(entry) for entry in held_out.values()])}." if held_out else "")
        ),
        headline=f"{mean:+.3f} in the mean, {min(gains):+.3f} at worst, on {len(sets)} sets",
        tables=[
            _gains_table(sets),
            *([_gains_table(held_out, "held out at first: ")] if held_out else []),
            _precision_table({**sets, **held_out}),
        ],
        measured=bullets(
            "Command: `python -m benchmarks.mislabels.noise_grid`.",
            f"Hardware, {describe_machine(result)}.",
            *NOTES,
        ),
    )
    return [page]


def _describe(gains: list[float]) -> str:
    """Describe differences to the better of loss and adjusted margin."""
    worse, better = sum(g < -WORSE for g in gains), sum(g > BETTER for g in gains)
    return (
        f"{sum(gains) / len(gains):+.3f} above the better of out-of-fold loss and adjusted margin "
        f"in the mean, {max(gains):+.3f} at best and {min(gains):+.3f} at worst: more than {WORSE} "
        f"below on {worse}, more than {BETTER} above on {better}"
    )


def _gains_table(sets: dict, prefix: str = "") -> str:
    kinds = list(dict.fromkeys(name.split(", ", 1)[1] for name in sets))
    tables = list(dict.fromkeys(name.split(", ", 1)[0] for name in sets))
    rows = [[name, *(f"{gain(sets[f'{name}, {kind}']):+.3f}" for kind in kinds)] for name in tables]
    return table([f"{prefix}fused above the better of loss and adjusted margin", *kinds], rows)


def _precision_table(sets: dict) -> str:
    rows = [
        [name, f"{entry['rows']:,}", f"{entry['wrong']:,}", f"{entry['pseudo_r2']:.2f}"]
        + [f"{entry['ap'][column]:.3f}" for column in TITLES]
        for name, entry in sets.items()
    ]
    return table(["set", "rows", "errors", "pseudo-R²", *TITLES.values()], rows)
