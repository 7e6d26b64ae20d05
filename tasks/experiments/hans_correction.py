"""Error correction on HANS of a model trained on MultiNLI (Guo et al., 2021)."""

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
"""A learning rate ten times that of the paper; rate, steps and batch size of the training."""
TABLES = {
    TRAIN_SOURCE: "the training rows",
    "hans": "unseen HANS rows",
    "lingnli": "LingNLI",
}
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
"""All strategies at the rate of the paper; some also at a larger rate and with more steps."""
ALL, POOL = 27_446, 300
"""Number of MultiNLI pairs; number of rows that are scored for a step."""


def reproduce_hans_correction(workspace: Workspace) -> ExperimentResult:
    """Run every strategy several times, with rows of three tables."""
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
    """Return claims about ten steps, at the rate of the paper and at a larger one."""
    claims: list[Claim] = []
    for rate, remark in ((PAPER_RATE, ""), (LARGE_RATE, f", at a learning rate of {LARGE_RATE:g}")):
        anchors = Strategy(TRAIN_SOURCE, "anchors", rate)
        train_gain = corrections.compare(Strategy(TRAIN_SOURCE, "helpful", rate), anchors)
        unseen_gain = corrections.compare(Strategy("hans", "helpful", rate), anchors)
        random_gain = corrections.compare(
            Strategy("hans", "helpful", rate), Strategy("hans", "random", rate)
        )
        claims += [
            Claim(
                "Steps on influential training rows gain accuracy on HANS over steps on the "
                f"failure set{remark}.",
                "+2.5 points",
                train_gain[0],
                train_gain[1] > 0,
            ),
            Claim(
                f"Steps on HANS rows not seen in training gain over the failure set{remark}.",
                "+2.8 points",
                unseen_gain[0],
                unseen_gain[1] > 0,
            ),
            Claim(
                f"Steps on these rows gain over random rows of that table{remark}.",
                "more",
                random_gain[0],
                random_gain[1] > 0,
            ),
        ]
    return claims


def _make_long_claims(corrections: RepeatedCorrections) -> list[Claim]:
    """Return claims about as many steps as the model was trained for."""
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
        remark += ", labels balanced (added here)" if strategy.balanced else ""
        over_anchors, over_random = (
            corrections.compare(strategy, anchors),
            corrections.compare(strategy, random_gain),
        )
        claims += [
            Claim(
                f"Steps on HANS rows not seen in training gain over the failure set{remark}.",
                "+2.8 points",
                over_anchors[0],
                over_anchors[1] > 0,
            ),
            Claim(
                f"Steps on these rows gain over random rows of that table{remark}.",
                "more",
                over_random[0],
                over_random[1] > 0,
            ),
        ]
    return claims


def _make_notes(
    corrections: RepeatedCorrections, long_strategies: list[Strategy], labels: Mapping[str, str]
) -> list[str]:
    """Return settings and remarks."""
    return [
        f"Adam; {POOL} rows are scored for a step. The failure set consists of HANS training "
        "pairs, half of them held out.",
        "Intervals: Student's t over the repetitions.",
        f"The learning rate of the paper, {PAPER_RATE:g}, is for a model of twice the width and "
        "depth. Ten such steps hardly change MiniLM, as the check of `fastif correct` reports. "
        "Larger rates and more steps are therefore added.",
        "Share of the most frequent label in a step: "
        f"{corrections.mean_majority_share(long_strategies[0], labels):.0%} on helpful rows, "
        f"{corrections.mean_majority_share(long_strategies[1], labels):.0%} on random rows. Such "
        "steps mainly shift the class prior of the model, in alternating directions. With the "
        "label distribution of the failure set (`fastif correct --balanced`) it is "
        f"{corrections.mean_majority_share(long_strategies[2], labels):.0%}.",
    ]
