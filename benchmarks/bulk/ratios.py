"""Seconds of all queries by side, and their ratios."""

from statistics import median

from benchmarks.bulk.sides.registry import SIDES
from benchmarks.bulk.sides.sizes import Sizes

KINDS = ("wall", "cpu")


def seconds(name: str, turn: dict, sizes: Sizes, kind: str) -> float:
    """Return the seconds of all queries of a side in one round, extrapolated if it ran fewer.

    Other packages are given the output of the frozen layers, so that part of fastif is left out in
    comparisons with them. The published method runs the whole model, so there it is counted.
    """
    parts = {part: took[kind] for part, took in turn["parts"].items()}
    if name == "published":
        score = parts["score"] / sizes.scored
        return sizes.queries * (parts["s_test"] / sizes.solved + sizes.rows * score)
    if name == "dattri-cg":
        query = (parts["few"] - parts["one"]) / sizes.few
        return parts["one"] + (sizes.queries - 1) * query
    return sum(took for part, took in parts.items() if part != "prefix")


def multiplied_up(name: str) -> bool:
    """Return whether the seconds of a side are extrapolated."""
    return name in ("published", "dattri-cg")


def summarise(raw: dict[str, list[dict]], sizes: Sizes) -> dict:
    """Return the medians of each side, and its ratios to the fastif sides."""
    done = {name: turns for name, turns in raw.items() if _whole(turns)}
    return {
        "sides": {name: _side(name, turns, sizes) for name, turns in done.items()},
        "failures": {
            name: _failure(turns) for name, turns in raw.items() if turns and name not in done
        },
        "ratios": [
            _ratio(name, ours, done, sizes)
            for name in done
            for ours in SIDES[name].against
            if ours in done
        ],
    }


def _whole(turns: list[dict]) -> bool:
    return bool(turns) and not any("failure" in turn for turn in turns)


def _failure(turns: list[dict]) -> str:
    return next(turn["failure"] for turn in turns if "failure" in turn)


def _side(name: str, turns: list[dict], sizes: Sizes) -> dict:
    parts = turns[0]["parts"]
    return {
        **{kind: median(seconds(name, turn, sizes, kind) for turn in turns) for kind in KINDS},
        "parts": {p: median(turn["parts"][p]["wall"] for turn in turns) for p in parts},
        "peak_mb": max(turn["peak_mb"] for turn in turns),
        "loaded_mb": max(turn["loaded_mb"] for turn in turns),
        "rounds": len(turns),
        "multiplied_up": multiplied_up(name),
    }


def _ratio(name: str, ours: str, done: dict[str, list[dict]], sizes: Sizes) -> dict:
    """Return minimum, median and maximum over the common rounds of both sides."""
    ratios = {}
    for kind in KINDS:
        each = sorted(
            seconds(name, side_round, sizes, kind)
            / (seconds(ours, our_round, sizes, kind) + _prefix(name, our_round, kind))
            for side_round, our_round in zip(done[name], done[ours], strict=False)
        )
        ratios[kind] = {"least": each[0], "median": median(each), "most": each[-1]}
    goal = SIDES[name].goal
    reached = ratios["wall"]["median"] >= goal
    return {"side": name, "against": ours, "goal": goal, "reached": reached, **ratios}


def _prefix(name: str, ours: dict, kind: str) -> float:
    return ours["parts"]["prefix"][kind] if name == "published" else 0.0
