"""HANS: a model that reads MultiNLI by shortcuts, repaired by influential rows."""

import polars as pl

from tasks.experiments.nli_data import EVALUATED, written
from tasks.experiments.repeated_corrections import (
    PAPER,
    TRAINING,
    Way,
    repaired,
)
from tasks.experiments.result import Claim, Outcome
from tasks.experiments.workspace import Place
from tasks.models.finetune import train_model

LARGE, LONG = 1e-3, {"rate": 3e-4, "steps": 40, "rows": 32}
"""A rate ten times the paper's; and steps as the model was trained by, with rate and batch."""
TABLES = {TRAINING: "the training rows", "hans": "HANS rows never seen", "lingnli": "LingNLI"}
WAYS = [
    *(Way(source, by) for source in TABLES for by in ("helpful", "harmful", "random")),
    Way(TRAINING, "anchors"),
    *(Way(source, by, LARGE) for source in (TRAINING, "hans") for by in ("helpful", "random")),
    Way(TRAINING, "anchors", LARGE),
    *(Way("hans", by, **LONG) for by in ("helpful", "random")),
    Way("hans", "helpful", **LONG, balanced=True),
    Way(TRAINING, "anchors", **LONG),
]
"""All at the paper's rate; the more telling ones at a larger one and for longer too."""
ALL, POOL = 27_446, 300
"""Pairs of MultiNLI that there are; rows that are looked at for a step."""


def correction(place: Place) -> Outcome:
    """By every way, from three tables, several times."""
    study = written(place, place.sized(1_500, ALL), place.sized(128, 256))
    train_model.fn(str(study))
    times = place.sized(3, 5)
    found = repaired(place, study, WAYS, times, POOL, TABLES, "suite hans")
    claims = []
    for rate, remark in ((PAPER, ""), (LARGE, f", at a rate of {LARGE:g}")):
        anchors = Way(TRAINING, "anchors", rate)
        own = found.over(Way(TRAINING, "helpful", rate), anchors)
        new = found.over(Way("hans", "helpful", rate), anchors)
        random = found.over(Way("hans", "helpful", rate), Way("hans", "random", rate))
        claims += [
            Claim("Steps on influential training rows gain accuracy on HANS over steps on the "
                  f"anchors themselves{remark}.", "+2.5 points", own[0], own[1] > 0),
            Claim(f"So do rows that were not seen in training (HANS){remark}.", "+2.8 points",
                  new[0], new[1] > 0),
            Claim(f"And more than random rows of that table{remark}.", "more", random[0],
                  random[1] > 0),
        ]  # fmt: skip
    anchors, random = Way(TRAINING, "anchors", **LONG), Way("hans", "random", **LONG)
    for way in (Way("hans", "helpful", **LONG), Way("hans", "helpful", **LONG, balanced=True)):
        remark = f", {way.steps} steps on {way.rows} rows at {way.rate:g}"
        remark += ", each label its share (ours)" if way.balanced else ""
        gained, beside = found.over(way, anchors), found.over(way, random)
        claims += [
            Claim(f"Rows not seen in training gain over anchors alone{remark}.", "+2.8 points",
                  gained[0], gained[1] > 0),
            Claim(f"And more than random rows of that table{remark}.", "more", beside[0],
                  beside[1] > 0),
        ]  # fmt: skip
    of = [Way("hans", by, **LONG) for by in ("helpful", "random")]
    of.append(Way("hans", "helpful", **LONG, balanced=True))
    labels = dict(pl.read_parquet(study.parent / "hans.parquet", columns=["id", "label"]).rows())
    title = f"Accuracy on {EVALUATED:,} HANS pairs, {found.before:.1%} before, mean of {times}"
    return Outcome(
        claims=claims,
        tables={title: found.rows()},
        plots={"correction": found.drawn()},
        notes=[f"Adam; {POOL} rows looked at for a step; the anchors are HANS "
               "training pairs, half of them held out. Intervals are Student's over the "
               f"repetitions. The paper's rate, {PAPER:g}, is for a model of twice the width and "
               "depth: ten such steps hardly move MiniLM, and the check of `fastif correct` says "
               "so; so larger rates and more steps are shown beside it.",
               f"In a step on helpful rows {found.commoner(of[0], labels):.0%} of them have one "
               f"label, in one on random rows {found.commoner(of[1], labels):.0%}: it moves what "
               "the model expects before it has read, to and fro. With each label its share of the "
               f"anchors it is {found.commoner(of[2], labels):.0%} (`fastif correct --balanced`)."],
    )  # fmt: skip
