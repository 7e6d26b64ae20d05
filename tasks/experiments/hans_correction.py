"""HANS: a model that reads MultiNLI by shortcuts, repaired by influential rows."""

from collections.abc import Mapping

import polars as pl

from tasks.experiments.nli_data import EVALUATED, write_nli_study
from tasks.experiments.repeated_corrections import (
    PAPER_RATE,
    TRAIN_SOURCE,
    RepeatedCorrections,
    Strategy,
    repeat_corrections,
)
from tasks.experiments.result import Claim, ExperimentResult
from tasks.experiments.workspace import Workspace
from tasks.models.finetune import train_model

LARGE_RATE, LONG_TRAINING = 1e-3, {"rate": 3e-4, "steps": 40, "rows": 32}
"""A rate ten times the paper's; and steps as the model was trained by, with rate and batch."""
TABLES = {TRAIN_SOURCE: "the training rows", "hans": "HANS rows never seen", "lingnli": "LingNLI"}
STRATEGIES = [
    *(Strategy(source, by) for source in TABLES for by in ("helpful", "harmful", "random")),
    Strategy(TRAIN_SOURCE, "anchors"),
    *(
        Strategy(source, by, LARGE_RATE)
        for source in (TRAIN_SOURCE, "hans")
        for by in ("helpful", "random")
    ),
    Strategy(TRAIN_SOURCE, "anchors", LARGE_RATE),
    *(Strategy("hans", by, **LONG_TRAINING) for by in ("helpful", "random")),
    Strategy("hans", "helpful", **LONG_TRAINING, balanced=True),
    Strategy(TRAIN_SOURCE, "anchors", **LONG_TRAINING),
]
"""All at the paper's rate; the more telling ones at a larger one and for longer too."""
ALL, POOL = 27_446, 300
"""Pairs of MultiNLI that there are; rows that are looked at for a step."""


def reproduce_hans_correction(workspace: Workspace) -> ExperimentResult:
    """By every way, from three tables, several times."""
    study = write_nli_study(
        workspace, workspace.select_size(1_500, ALL), workspace.select_size(128, 256)
    )
    train_model.fn(str(study))
    repeats = workspace.select_size(3, 5)
    corrections = repeat_corrections(
        workspace, study, STRATEGIES, repeats, POOL, TABLES, "suite hans"
    )
    long_strategies = [Strategy("hans", by, **LONG_TRAINING) for by in ("helpful", "random")]
    long_strategies.append(Strategy("hans", "helpful", **LONG_TRAINING, balanced=True))
    labels = dict(pl.read_parquet(study.parent / "hans.parquet", columns=["id", "label"]).rows())
    title = (
        f"Accuracy on {EVALUATED:,} HANS pairs, {corrections.before:.1%} before, mean of {repeats}"
    )
    return ExperimentResult(
        claims=[*_make_rate_claims(corrections), *_make_long_claims(corrections)],
        tables={title: corrections.make_rows()},
        plots={"correction": corrections.plot()},
        notes=_make_notes(corrections, long_strategies, labels),
    )


def _make_rate_claims(corrections: RepeatedCorrections) -> list[Claim]:
    """Of ten steps, at the paper's rate and at a larger one."""
    claims: list[Claim] = []
    for rate, remark in ((PAPER_RATE, ""), (LARGE_RATE, f", at a rate of {LARGE_RATE:g}")):
        anchors = Strategy(TRAIN_SOURCE, "anchors", rate)
        train_gain = corrections.compare(Strategy(TRAIN_SOURCE, "helpful", rate), anchors)
        unseen_gain = corrections.compare(Strategy("hans", "helpful", rate), anchors)
        random_gain = corrections.compare(
            Strategy("hans", "helpful", rate), Strategy("hans", "random", rate)
        )
        claims += [
            Claim(
                "Steps on influential training rows gain accuracy on HANS over steps on the "
                f"anchors themselves{remark}.",
                "+2.5 points",
                train_gain[0],
                train_gain[1] > 0,
            ),
            Claim(
                f"So do rows that were not seen in training (HANS){remark}.",
                "+2.8 points",
                unseen_gain[0],
                unseen_gain[1] > 0,
            ),
            Claim(
                f"And more than random rows of that table{remark}.",
                "more",
                random_gain[0],
                random_gain[1] > 0,
            ),
        ]
    return claims


def _make_long_claims(corrections: RepeatedCorrections) -> list[Claim]:
    """Of as many steps as the model was trained by."""
    claims: list[Claim] = []
    anchors, random_gain = (
        Strategy(TRAIN_SOURCE, "anchors", **LONG_TRAINING),
        Strategy("hans", "random", **LONG_TRAINING),
    )
    for strategy in (
        Strategy("hans", "helpful", **LONG_TRAINING),
        Strategy("hans", "helpful", **LONG_TRAINING, balanced=True),
    ):
        remark = f", {strategy.steps} steps on {strategy.rows} rows at {strategy.rate:g}"
        remark += ", each label its share (ours)" if strategy.balanced else ""
        over_anchors, over_random = (
            corrections.compare(strategy, anchors),
            corrections.compare(strategy, random_gain),
        )
        claims += [
            Claim(
                f"Rows not seen in training gain over anchors alone{remark}.",
                "+2.8 points",
                over_anchors[0],
                over_anchors[1] > 0,
            ),
            Claim(
                f"And more than random rows of that table{remark}.",
                "more",
                over_random[0],
                over_random[1] > 0,
            ),
        ]
    return claims


def _make_notes(
    corrections: RepeatedCorrections, long_strategies: list[Strategy], labels: Mapping[str, str]
) -> list[str]:
    """What is to be known beside it."""
    return [
        f"Adam; {POOL} rows looked at for a step; the anchors are HANS "
        "training pairs, half of them held out. Intervals are Student's over the "
        f"repetitions. The paper's rate, {PAPER_RATE:g}, is for a model of twice the width "
        "and "
        "depth: ten such steps hardly move MiniLM, and the check of `fastif correct` says "
        "so; so larger rates and more steps are shown beside it.",
        "In a step on helpful rows "
        f"{corrections.mean_majority_share(long_strategies[0], labels):.0%} of them have "
        "one "
        "label, in one on random rows "
        f"{corrections.mean_majority_share(long_strategies[1], labels):.0%}: it moves what "
        "the model expects before it has read, to and fro. With each label its share of the "
        f"anchors it is {corrections.mean_majority_share(long_strategies[2], labels):.0%} "
        "(`fastif correct --balanced`).",
    ]
