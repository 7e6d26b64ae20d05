"""HANS: a model that reads MultiNLI by shortcuts, repaired by influential rows."""

import json
from pathlib import Path

import altair as alt
import polars as pl
from scipy import stats

from fastif.applications import Correction
from tasks.corrected import Asked, correct_model
from tasks.experiments.nli import EVALUATED, written
from tasks.experiments.outcome import Claim, Outcome
from tasks.experiments.place import Place
from tasks.experiments.plots import svg
from tasks.train import train_model

WAYS = ("helpful", "harmful", "random", "anchors")
SOURCES = {"train": "the training rows", "hans": "HANS rows never seen", "lingnli": "LingNLI"}
LEARNING_RATE = 1e-4


def correction(place: Place) -> Outcome:
    """Ten steps on ten rows each, by every way, from three tables, several times."""
    study = written(place, place.sized(1_500, 3_500), place.sized(128, 512))
    train_model.fn(str(study))
    times = place.sized(3, 5)
    gains: dict[tuple[str, str], list[float]] = {}
    before = 0.0
    for source in SOURCES:
        for by in WAYS:
            if by == "anchors" and source != "train":
                continue  # the same steps whatever the table
            for seed in range(times):
                told = place.told(
                    f"{source}-{by}-{seed}",
                    lambda s=source, b=by, r=seed: _once(place, study, s, b, r),
                )
                gains.setdefault((source, by), []).append(told["after"] - told["before"])
                before = told["before"]
    rows = [
        {"from": SOURCES[source] if by != "anchors" else "the anchors themselves",
         "by": by, "gain, points": 100 * sum(found) / len(found),
         "95 %": _interval(found)} for (source, by), found in gains.items()
    ]  # fmt: skip
    own = _over(gains["train", "helpful"], gains["train", "anchors"])
    new = _over(gains["hans", "helpful"], gains["train", "anchors"])
    random = _over(gains["hans", "helpful"], gains["hans", "random"])
    title = f"Accuracy on {EVALUATED:,} HANS pairs, {before:.1%} before, mean of {times}"
    return Outcome(
        claims=[
            Claim("Steps on influential training rows gain accuracy on HANS over steps on the "
                  "anchors themselves.", "+2.5 points", own[0], own[1] > 0),
            Claim("So do rows that were not seen in training (HANS).", "+2.8 points", new[0],
                  new[1] > 0),
            Claim("And more than random rows of that table.", "more", random[0], random[1] > 0),
        ],
        tables={title: rows},
        plots={"correction": _drawn(gains)},
        notes=[f"{Correction().steps} steps on {Correction().rows} rows each, Adam at "
               f"{LEARNING_RATE:g}, {POOL[place.scale]} rows looked at for a step; the anchors are "
               "HANS training pairs, half of them held out. Intervals are Student's over the "
               "repetitions. The rate is the paper's, for a model of twice the width and depth: "
               "ten such steps hardly move MiniLM, and the check of `fastif correct` says so."],
    )  # fmt: skip


POOL = {"small": 300, "full": 1000}


def _once(place: Place, study: Path, source: str, by: str, seed: int) -> dict:
    """Accuracy on HANS before and after one repair."""
    folder = study.parent
    table = None if source == "train" else folder / f"{source}.parquet"
    how = Correction(pool=POOL[place.scale], learning_rate=LEARNING_RATE, by=by, seed=seed)
    aside = folder / "repaired"
    repair = correct_model.fn(
        Asked(study, folder / "anchors.parquet", aside, table, how, keep=False)
    )
    if repair.out:
        for file in Path(repair.out).iterdir():
            file.unlink()
        aside.rmdir()
    hans = next(one for one in repair.slices if one.name == "suite hans")
    mnli = next(one for one in repair.slices if one.name == "suite mnli")
    return {"before": hans.before, "after": hans.after, "mnli": mnli.after - mnli.before,
            "taken": json.loads(json.dumps(repair.taken))}  # fmt: skip


def _interval(found: list[float]) -> str:
    if len(found) < 2:
        return ""
    half = float(stats.t.ppf(0.975, len(found) - 1)) * stats.sem(found)
    mean = sum(found) / len(found)
    return f"{100 * (mean - half):+.1f} to {100 * (mean + half):+.1f}"


def _over(one: list[float], other: list[float]) -> tuple[str, float]:
    """The difference in words, and the low end of its interval; pairs share their seed."""
    gains = [a - b for a, b in zip(one, other, strict=True)]
    mean = sum(gains) / len(gains)
    half = float(stats.t.ppf(0.975, len(gains) - 1)) * float(stats.sem(gains))
    return f"{100 * mean:+.1f} points ({_interval(gains)})", mean - half


def _drawn(gains: dict[tuple[str, str], list[float]]) -> str:
    rows = [
        {"rows": f"{by}, {SOURCES[source]}" if by != "anchors" else "the anchors themselves",
         "gain, points": 100 * gain}
        for (source, by), found in gains.items() for gain in found
    ]  # fmt: skip
    base = alt.Chart(pl.DataFrame(rows)).encode(
        x=alt.X("gain, points:Q", title="gain, points"),
        y=alt.Y("rows:N", title=None, sort=None, axis=alt.Axis(labelLimit=300)),
    )
    return svg((base.mark_point(filled=True, size=50) + base.mark_tick(thickness=2).encode(
        x=alt.X("mean(gain, points):Q", title="gain, points"))).properties(width=380))  # fmt: skip
