"""HANS: a model that reads MultiNLI by shortcuts, repaired by influential rows."""

from fastif.applications import Correction
from tasks.experiments.nli import EVALUATED, written
from tasks.experiments.outcome import Claim, Outcome
from tasks.experiments.place import Place
from tasks.experiments.repairs import PAPER, TRAINING, Way, repaired
from tasks.train import train_model

LARGE = 1e-3
TABLES = {TRAINING: "the training rows", "hans": "HANS rows never seen", "lingnli": "LingNLI"}
WAYS = [
    *(Way(source, by) for source in TABLES for by in ("helpful", "harmful", "random")),
    Way(TRAINING, "anchors"),
    *(Way(source, by, LARGE) for source in (TRAINING, "hans") for by in ("helpful", "random")),
    Way(TRAINING, "anchors", LARGE),
]
"""All at the paper's rate; the more telling ones at a larger one too."""
POOL = {"small": 300, "full": 1000}


def correction(place: Place) -> Outcome:
    """Ten steps on ten rows each, by every way, from three tables, several times."""
    study = written(place, place.sized(1_500, 3_500), place.sized(128, 512))
    train_model.fn(str(study))
    times, how = place.sized(3, 5), Correction(pool=POOL[place.scale])
    found = repaired(place, study, WAYS, times, how, TABLES, "suite hans")
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
    title = f"Accuracy on {EVALUATED:,} HANS pairs, {found.before:.1%} before, mean of {times}"
    return Outcome(
        claims=claims,
        tables={title: found.rows()},
        plots={"correction": found.drawn()},
        notes=[f"{how.steps} steps on {how.rows} rows each, Adam, {how.pool} rows looked at for a "
               "step; the anchors are HANS training pairs, half of them held out. Intervals are "
               f"Student's over the repetitions. The paper's rate, {PAPER:g}, is for a model of "
               "twice the width and depth: ten such steps hardly move MiniLM, and the check of "
               f"`fastif correct` says so; so {LARGE:g} is shown beside it."],
    )  # fmt: skip
