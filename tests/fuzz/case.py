"""One random study, drawn from a seed, as plain data that can be read and repeated."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.fuzz.families import FAMILIES, LAYERS, POSITIONS, Side
from tests.fuzz.measures import draw_measure
from tests.fuzz.night import Night
from tests.fuzz.targets import Target, draw_target

OTHER_TARGETS = 1_000_000
"""The first seed of studies whose target, loss or weights are not the usual ones."""
HEAD = "^(classifier|score|logits_proj)"
"""Expression for the head of every family."""


@dataclass(frozen=True)
class Case:
    """A study with its model and tables.

    Attributes:
        seed: of the study, the weights and the rows.
        family: of `families.FAMILIES`.
        dtype: of the saved weights.
        members: models that answers are means over.
        side, padding: of the tokenizer; padding None has no such token.
        segments: whether it gives token types.
        labels, pairs, rows, queries: of the tables; formats their file endings.
        empty: a training row has an empty text.
        attributed: as in `[parameters]`.
        weights, smoothing, decay, coupled: of `[loss]`.
        hessian, damping, curvature_rows, leverage: of `[curvature]`.
        solver, candidates, run: further sections, as they are written.
        night: the second run; None without.
        subprocess: whether the command line is a separate process.
        measure: of `[queries]`.
        unlabelled: Share of the queries without a label; their table has no label column if 1.
        target: What rows are labelled with, and the loss that belongs to it.
    """

    seed: int
    family: str
    dtype: str = "float32"
    members: int = 1
    side: Side = "right"
    padding: str | None = "[PAD]"
    segments: bool = False
    labels: tuple[str, ...] = ("neg", "pos")
    pairs: bool = False
    rows: int = 23
    queries: int = 3
    formats: tuple[str, str] = ("parquet", "csv")
    empty: bool = False
    max_length: int = POSITIONS
    attributed: str | tuple[str, ...] = "last:1"
    weights: tuple[float, ...] | None = None
    smoothing: float = 0.0
    decay: float = 0.0
    coupled: bool = False
    hessian: bool = False
    damping: float = 0.1
    curvature_rows: int | None = None
    leverage: str = "off"
    solver: Mapping[str, Any] = field(default_factory=lambda: {"kind": "dual"})
    candidates: Mapping[str, Any] = field(default_factory=lambda: {"kind": "full"})
    run: Mapping[str, Any] = field(default_factory=dict)
    night: Night | None = None
    subprocess: bool = False
    measure: str = "auto"
    unlabelled: float = 0.0
    target: Target = field(default_factory=Target)

    @property
    def penalty(self) -> float:
        """What the loss adds to the diagonal."""
        return self.decay if self.coupled else 0.0

    @property
    def by_sketches(self) -> bool:
        """Whether stored effects are those of sketches."""
        return self.candidates.get("rescore") is False

    @property
    def title(self) -> str:
        """What is unusual about it, in a line."""
        parts = [self.family, f"n={self.rows}", f"q={self.queries}", f"of={self.attributed}"]
        parts += [f"solver={_short(self.solver)}", f"candidates={_short(self.candidates)}"]
        parts += [_short(self.run)]
        plain = Case(self.seed, self.family)
        names = "dtype members side padding segments labels pairs empty max_length weights"
        names += " smoothing decay coupled hessian curvature_rows leverage night subprocess"
        names += " measure unlabelled target"
        for name in names.split():
            value = getattr(self, name)
            if value != getattr(plain, name):
                parts.append(f"{name}={_short(value)}")
        return " ".join(parts)


def _short(value: object) -> str:
    if isinstance(value, Night | Target):
        plain = type(value)()
        changes = {k: v for k, v in vars(value).items() if v != getattr(plain, k)}
        return _short(changes)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{_short(v)}" for k, v in value.items()) + "}"
    return str(value).replace(" ", "")


def draw(seed: int) -> Case:
    """The study of a seed."""
    chance = random.Random(seed)
    family = chance.choice([*FAMILIES, "bert", "distilbert", "roberta", "llama", "gpt2", "xlnet"])
    keys = _model(chance, family) | _tables(chance) | _loss(chance)
    keys |= _curvature(chance, keys)
    if seed >= OTHER_TARGETS:  # small, for the losses are what differs
        keys["rows"] = min(keys["rows"], 13)
        keys["attributed"] = "last:1" if keys["attributed"] == "all" else keys["attributed"]
    if keys["solver"]["kind"] == "direct" and keys["attributed"] == "all":
        keys["attributed"] = (HEAD,)  # a dense matrix of all parameters takes long
    nightly = chance.random() < 0.3
    keys |= _candidates(chance, keys, nightly) | {"run": _run(chance)}
    if keys["solver"]["kind"] in ("cg", "lissa"):  # hundreds of sweeps a shard
        keys["run"] = {**keys["run"], "batch_size": 32, "shard_size": chance.choice([2, 64])}
        keys["run"].pop("batch_tokens", None)
        keys["queries"] = min(keys["queries"], 3)
    if nightly:
        keys |= _second_night(chance, keys)
    if keys["candidates"].get("rescore") is not False:
        keys["leverage"] = _leverage(random.Random(f"{seed} leverage"), keys["solver"])
    keys |= draw_measure(random.Random(f"{seed} measure"))
    if seed >= OTHER_TARGETS:
        other = random.Random(f"{seed} target")
        keys |= draw_target(other, keys)
        if keys["target"].weighted and nightly:
            few = _most_gone(keys["rows"])
            keys["night"] = replace(keys["night"], reweighted=other.randint(0, few))
    return Case(seed, family, subprocess=chance.random() < 0.1, **keys)


def _model(chance: random.Random, name: str) -> dict[str, Any]:
    family = FAMILIES[name]
    usual = chance.random() < 0.75
    other: Side = "left" if family.side == "right" else "right"
    paddings: list[str | None] = ["[PAD]"] * 6
    paddings += [None, "[SEP]", "[SEP]"] if family.decoder else ["[SEP]"]
    return {
        "dtype": chance.choice(["float32"] * 4 + ["bfloat16", "float16"]),
        "members": chance.choice([1, 1, 1, 1, 2]),
        "side": family.side if usual else other,
        "padding": chance.choice(paddings),
        "segments": family.segments or chance.random() < 0.08,
        "max_length": chance.choice([POSITIONS] * 5 + [10, 10, 3 * POSITIONS]),
        "attributed": chance.choice(
            ["last:1", "last:1", "last:1", f"last:{LAYERS}", "all", (HEAD,), (r"\.1\.", HEAD)]
        ),
    }


def _tables(chance: random.Random) -> dict[str, Any]:
    formats = ("parquet", "csv", "jsonl")
    return {
        "labels": chance.choice(
            [("neg", "pos"), ("neg", "pos"), ("lo", "mid", "hi"), tuple("dabc")]
        ),
        "pairs": chance.random() < 0.3,
        "rows": chance.choice([6, 13, 23, 40]),
        "queries": chance.choice([1, 2, 3, 7, 12]),
        "formats": (chance.choice(formats), chance.choice(formats)),
        "empty": chance.random() < 0.04,
    }


def _loss(chance: random.Random) -> dict[str, Any]:
    return {
        "smoothing": chance.choice([0.0, 0.0, 0.1]),
        "decay": chance.choice([0.0, 0.0, 0.02]),
        "coupled": chance.random() < 0.5,
    }


def _curvature(chance: random.Random, keys: dict[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {"damping": chance.choice([0.01, 0.05, 0.3, 1.0])}
    if chance.random() < 0.3:
        given["weights"] = tuple(round(chance.uniform(0.5, 3), 2) for _ in keys["labels"])
    if chance.random() < 0.15:
        given |= {"hessian": True, "attributed": (HEAD,), "damping": chance.choice([0.3, 2.0, 5.0])}
        given["solver"] = chance.choice([{"kind": "cg", **_FINE}, {"kind": "direct"}])
        return given
    given["solver"] = chance.choice(SOLVERS)
    if chance.random() < 0.12:  # every sample that it can be is tried, so few rows
        given |= {"rows": 6, "curvature_rows": chance.choice([4, 5, 6, 40])}
    return given


_FINE = {"tolerance": 1e-6, "max_steps": 150}
SOLVERS: tuple[dict[str, Any], ...] = (
    {"kind": "dual"},
    {"kind": "dual"},
    {"kind": "dual", "rank": 12},
    {"kind": "direct"},
    {"kind": "cg", **_FINE},
    {"kind": "cg"},
    {"kind": "cg", **_FINE, "preconditioner": "eigen", "rank": 8},
    {"kind": "cg", **_FINE, "preconditioner": "drawn", "rank": 20},
    {"kind": "cg", **_FINE, "preconditioner": "ekfac"},
    {"kind": "spectral", "negligible": 1e-7},
    {"kind": "spectral", "negligible": 1e-7},
    {"kind": "lissa", "batch": 16, "max_steps": 300},
    {"kind": "lissa", "batch": 8, "tolerance": 0.03, "repeats": 2, "max_steps": 200},
)


def _leverage(chance: random.Random, solver: Mapping[str, Any]) -> str:
    exact = solver["kind"] in ("dual", "direct") and "rank" not in solver
    return chance.choice(["off", "off", "auto", "on" if exact else "auto"])


def _most_gone(count: int) -> int:
    return max(1, round(0.1 * count))


def _candidates(chance: random.Random, keys: dict[str, Any], nightly: bool) -> dict[str, Any]:
    count = keys["rows"]
    few = max(2, count // 3)
    most = count - _most_gone(count) if nightly else count
    choices: list[dict[str, Any]] = [
        {"kind": "full", "keep": count, "totals": False},
        {"kind": "full", "keep": count},
        {"kind": "full", "keep": few},
        {"kind": "full", "keep": few, "totals": False},
        {"kind": "knn", "k": most, "check": 2},
        {"kind": "knn", "k": few, "check": 1},
        {"kind": "sketch", "k": most, "check": 2},
        {"kind": "sketch", "k": few, "check": 0},
        {
            "kind": "union",
            "of": [{"kind": "sketch", "k": most}, {"kind": "knn", "k": few}],
            "check": 2,
        },
    ]
    return {"candidates": chance.choice(choices)}


def _run(chance: random.Random) -> dict[str, Any]:
    run: dict[str, Any] = {
        "shard_size": chance.choice([1, 2, 4, 64]),
        "batch_size": chance.choice([1, 3, 8, 32]),
        "prefix_cache_mb": chance.choice([512, 512, 0]),
    }
    if chance.random() < 0.3:
        run["batch_tokens"] = chance.choice([40, 300])
    if chance.random() < 0.2:
        run["devices"] = ["cpu", "cpu"]
    if chance.random() < 0.15:
        run["prefix_disk_mb"] = 8
    return run


def _second_night(chance: random.Random, keys: dict[str, Any]) -> dict[str, Any]:
    count, few = keys["rows"], _most_gone(keys["rows"])
    night = Night(
        gone=chance.randint(0, few),
        added=chance.randint(0, 2 * few),
        relabelled=chance.randint(0, few),
        edited=chance.choice([0, 0, 1]),
        front=chance.random() < 0.5,
        shuffled=chance.random() < 0.3,
        new_queries=chance.randint(0, keys["queries"]),
        model=chance.random() < 0.15,
        damping=chance.choice([None, None, None, 0.5]),
        ids=chance.choice(["column", "column", "row numbers", "reused"]),
        carry=chance.choice([None, 0.1, 0.5, 0.9]),
    )
    if night.carry is None or chance.random() < 0.5 or keys.get("hessian"):
        return {"night": night}
    # Sketches are the only scores that follow a changed training table: all but exact, so wide.
    k = chance.choice([count // 2, count - few])
    sketch = {"kind": "sketch", "k": k, "dimensions": 600, "energy": 1.0, "rescore": False}
    narrow = {"attributed": (HEAD,), "members": 1, "solver": {"kind": "dual"}}
    return {"night": night, "candidates": {**sketch, "check": 2}, **narrow}
