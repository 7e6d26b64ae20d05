"""Summary of the raw seconds of both sides for the page. Nothing is measured here."""

from dataclasses import dataclass
from statistics import median

LEAST_RATIO = 40
"""Goal for the speed-up a scored pair."""


@dataclass(frozen=True)
class Line:
    """One quantity in all rounds.

    Attributes:
        label: Name in the table.
        published: Seconds, or megabytes, of the published method, one a round.
        ours: Seconds, or megabytes, of fastif, one a round.
        multiplied_up: Whether the published number is extrapolated from a timed sample.
    """

    label: str
    published: list[float]
    ours: list[float]
    multiplied_up: bool = False

    def record(self) -> dict:
        """Return the medians, and the ratio with its range over the rounds."""
        ratios = [a / b for a, b in zip(self.published, self.ours, strict=True)]
        return {
            "label": self.label,
            "published": median(self.published),
            "ours": median(self.ours),
            "ratio": median(ratios),
            "ratio_least": min(ratios),
            "ratio_most": max(ratios),
            "published_multiplied_up": self.multiplied_up,
        }


def summarise(raw: dict, train_rows: int, query_rows: int) -> dict:
    """Return the rows of the table and the ratios to the arithmetic lower bound."""
    turns = list(zip(raw["published"], raw["ours"], strict=True))
    k = raw["ours"][0]["candidates"]
    scans = {"full": train_rows, "knn": k}
    lines = {"s_test": _line("s_test, a query", turns, _s_test)}
    for scan, pairs in scans.items():
        name = "full scan" if scan == "full" else "kNN, 5 %"
        lines[f"pair_{scan}"] = _line(f"scoring a pair, {name}", turns, _pair, scan, pairs)
    for scan, pairs in scans.items():
        name = "full scan" if scan == "full" else "kNN, 5 %"
        lines[f"query_{scan}"] = _line(f"a query, {name}", turns, _query, scan, pairs)
        lines[f"query_{scan}_once"] = _line(
            f"the query above, with once-a-study work of fastif divided by {query_rows} queries",
            turns, _query_once, scan, pairs, query_rows,
        )  # fmt: skip
    peaks = Line(
        "peak memory of the process",
        [p["peak_mb"] for p, _ in turns],
        [o["peak_mb"] for _, o in turns],
    )
    records = {key: line.record() for key, line in lines.items()}
    for record in records.values():
        record["unit"] = "s"
    return {
        "lines": {**records, "peak": {**peaks.record(), "unit": "MB"}},
        "least_ratio": LEAST_RATIO,
        "once_a_study": {
            part: median(o[part] for _, o in turns) for part in ("prefix", "factor", "index")
        },
        "distinct_candidates": [o["distinct"] for _, o in turns],
        "scans": scans,
        "floor": _floor(raw, scans),
    }


def _line(label: str, turns: list, sides, *rest) -> Line:
    pairs = [sides(published, ours, *rest) for published, ours in turns]
    multiplied_up = sides in (_query, _query_once)
    return Line(label, [a for a, _ in pairs], [b for _, b in pairs], multiplied_up)


def _s_test(published: dict, ours: dict) -> tuple[float, float]:
    return published["s_test"], (ours["gradients"] + ours["solve"]) / ours["queries"]


def _pair(published: dict, ours: dict, scan: str, pairs: int) -> tuple[float, float]:
    return published["score"], ours[f"score_{scan}"] / ours["queries"] / pairs


def _query(published: dict, ours: dict, scan: str, pairs: int) -> tuple[float, float]:
    return published["s_test"] + pairs * published["score"], ours[scan] / ours["queries"]


def _query_once(
    published: dict, ours: dict, scan: str, pairs: int, query_rows: int
) -> tuple[float, float]:
    published_seconds, our_seconds = _query(published, ours, scan, pairs)
    once = ours["prefix"] + ours["factor"] + (ours["index"] if scan == "knn" else 0.0)
    return published_seconds, our_seconds + once / query_rows


def _floor(raw: dict, scans: dict[str, int]) -> dict:
    """Return the seconds a shard of the linear algebra alone, at the rate of a large product.

    A full scan takes one gradient a training example and one product of length p a pair; kNN takes
    one gradient a distinct candidate. An exact dual solve takes each factor row twice, and
    multiplies it with the gradient of each query each time.
    """
    costs, first = raw["floor"], raw["ours"][0]
    queries, n = first["queries"], scans["full"]
    distinct = median(o["distinct"] for o in raw["ours"])
    needed = {
        "full": n * (costs["gradient"] + queries * costs["pair"]),
        "knn": distinct * costs["gradient"] + queries * scans["knn"] * costs["pair"],
        "solve": 2 * costs["root_rows"] * (costs["gradient"] + queries * costs["pair"]),
    }
    floor_seconds = {scan: median(o[f"score_{scan}"] for o in raw["ours"]) for scan in scans}
    floor_seconds["solve"] = median(o["solve"] for o in raw["ours"])
    seconds = {part: count / costs["rate_square"] for part, count in needed.items()}
    return {
        **costs,
        "multiply_adds": needed,
        "floor_seconds": seconds,
        "seconds": floor_seconds,
        "times_the_floor": {part: floor_seconds[part] / seconds[part] for part in needed},
    }
