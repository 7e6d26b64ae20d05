"""The command that scores a stranger's effects, against SciPy, and what it refuses."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file
from scipy.stats import spearmanr

from benchmarks.fidelity.publish import list_published, render_card
from benchmarks.fidelity.published import (
    FILES,
    PUBLISHED,
    read_published,
)
from benchmarks.fidelity.score import main
from benchmarks.fidelity.truth import FIRST_SEEDS as SEEDS
from benchmarks.page import read_result
from fastif.errors import InputError

TRAIN = [f"train/{letter}" for letter in "feabcd"]
QUERIES = ["dev/9", "dev/10", "dev/2"]
HALVES = [[0, 1, 2], [1, 3, 5], [2, 3, 4], [0, 4, 5], [0, 2, 5]]
METHOD = {"name": "known", "package": "fastif", "lds": 0.25, "error": 0.01}


@pytest.fixture
def margins() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    signal = generator.normal(size=(5, 3))
    return {name: signal + 0.3 * generator.normal(size=(5, 3)) for name in "AB"}


@pytest.fixture
def folder(tmp_path, margins) -> Path:
    """Published truth, written here file by file, its rows in another order than the ids."""
    path = tmp_path / "truth" / "tiny"
    path.mkdir(parents=True)
    for file, name, ids in (("train", "train_id", TRAIN), ("queries", "query_id", QUERIES)):
        rows = {"position": range(len(ids)), name: ids, "label": [0] * len(ids)}
        pl.DataFrame(rows).reverse().write_parquet(path / f"{file}.parquet")
    members = [{"subset": s, "train_id": TRAIN[i]} for s, half in enumerate(HALVES) for i in half]
    pl.DataFrame(members).reverse().write_parquet(path / "subsets.parquet")
    outcomes = [
        {"subset": s, "seed": SEEDS[name], "query_id": query, "margin": values[s, q]}
        for name, values in margins.items()
        for q, query in enumerate(QUERIES)
        for s in range(5)
    ]
    pl.DataFrame(outcomes).reverse().write_parquet(path / "outcomes.parquet")
    facts = {"name": "tiny", "title": "Tiny", "seeds": 1, "methods": [METHOD]}
    (path / "workload.json").write_text(json.dumps(facts))
    return path.parent


@pytest.fixture
def effects() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(3, 6))


def pairs(effects: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"query_id": query, "train_id": row, "effect": effects[q, i]}
            for q, query in enumerate(QUERIES)
            for i, row in enumerate(TRAIN)
        ]
    )


def save(effects: np.ndarray, kind: str, folder: Path) -> Path:
    path = folder / f"mine.{kind.split()[0]}"
    if kind == "npy":
        np.save(path, effects)
    elif kind == "safetensors":
        save_file({"effect": torch.from_numpy(effects)}, path)
    elif kind == "parquet wide":
        frame = pairs(effects).pivot(on="train_id", index="query_id", values="effect")
        frame.sample(fraction=1.0, shuffle=True, seed=0).write_parquet(path)
    else:
        pairs(effects).sample(fraction=1.0, shuffle=True, seed=0).write_parquet(path)
    return path


def run(path: Path, folder: Path, capsys: pytest.CaptureFixture) -> tuple[int, str]:
    status = main([str(path), "--workload", "tiny", "--truth", str(folder)])
    return status, capsys.readouterr().out


@pytest.mark.parametrize("kind", ["npy", "safetensors", "parquet", "parquet wide"])
def test_the_score_is_that_of_scipy(kind, folder, effects, margins, tmp_path, capsys):
    status, printed = run(save(effects, kind, tmp_path), folder, capsys)
    by_query = []
    for q in range(3):
        sums = [sum(effects[q, i] for i in half) for half in HALVES]
        both = [spearmanr(sums, values[:, q]).statistic for values in margins.values()]
        by_query.append(sum(both) / 2)
    agreement = np.mean(
        [spearmanr(*(v[:, q] for v in margins.values())).statistic for q in range(3)]
    )
    lds, error = np.mean(by_query), np.std(by_query, ddof=1) / 3**0.5
    row = next(line for line in printed.splitlines() if line.startswith("mine"))
    assert status == 0
    assert row.split() == [
        "mine",
        "yours",
        f"{lds:.3f}",
        f"{error:.3f}",
        f"{lds / agreement**0.5:.1%}",
        "<-",
    ]
    assert f"without noise: {agreement**0.5:.3f} (" in printed


def test_all_methods_are_in_the_table_the_best_first(folder, margins, tmp_path, capsys):
    noiseless = np.linalg.lstsq(
        np.array([[i in half for i in range(6)] for half in HALVES], float),
        sum(margins.values()) / 2,
    )[0].T
    _, printed = run(save(noiseless, "npy", tmp_path), folder, capsys)
    rows = [line.split()[0] for line in printed.splitlines() if " 0." in line and "%" in line]
    assert rows == ["mine", "known"]
    _, printed = run(save(-noiseless, "npy", tmp_path), folder, capsys)
    assert printed.index("known ") < printed.index("mine ")
    assert "Is the sign reversed?" in printed


def test_a_query_with_equal_effects_counts_zero(folder, effects, tmp_path, capsys):
    effects[1] = 0.5
    status, printed = run(save(effects, "npy", tmp_path), folder, capsys)
    assert status == 0
    assert "1 queries have the same effect of every row" in printed
    assert "nan" not in printed


def spoil(effects: np.ndarray, name: str) -> pl.DataFrame:
    table = pairs(effects)
    renamed = {"query_id": "train_id", "train_id": "query_id"}
    return {
        "a missing pair": table[:-1],
        "a missing query": table.filter(pl.col("query_id") != "dev/10"),
        "a duplicate": pl.concat([table, table[4:5]]),
        "a null": table.with_columns(pl.col("effect").replace({effects[1, 2]: None})),
        "a NaN": table.with_columns(pl.col("effect").replace({effects[1, 2]: float("nan")})),
        "an unknown row": table.with_columns(pl.col("train_id").replace({"train/f": "train/z"})),
        "an unknown query": table.with_columns(pl.col("query_id").replace({"dev/2": "2"})),
        "transposed": table.rename(renamed),
        "text": table.with_columns(pl.col("effect").cast(pl.String)),
        "no ids": table.drop("query_id"),
        "no effects": table.rename({"effect": "score"}),
    }[name]


REFUSED = {
    "a missing pair": "got 17, without 'dev/2', 'train/d'",
    "a missing query": "got 12, without query_id 'dev/10' and 0 more",
    "a duplicate": "got 2 rows of pairs that are there twice, such as 'dev/9', 'train/c'",
    "a null": "got 1 that are not, first 'dev/10', 'train/a'",
    "a NaN": "got 1 that are not, first 'dev/10', 'train/a'",
    "an unknown row": "train_id: expected ids of the workload, such as 'train/a'; got 1 others, "
    "such as 'train/z'",
    "an unknown query": "query_id: expected ids of the workload, such as 'dev/10'; got 1 others, "
    "such as '2'",
    "transposed": "expected queries in query_id; got training rows. Transpose",
    "text": "effect: expected real numbers; got String",
    "no ids": "expected the columns query_id, train_id, effect",
    "no effects": "expected the column effect",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_malformed_table_is_refused_by_name(name, folder, effects, tmp_path, capsys):
    path = tmp_path / "mine.parquet"
    spoil(effects, name).write_parquet(path)
    status, printed = run(path, folder, capsys)
    assert status == 1
    assert REFUSED[name] in printed


def test_a_malformed_array_is_refused_by_name(folder, effects, tmp_path, capsys):
    status, printed = run(save(effects.T, "npy", tmp_path), folder, capsys)
    assert (status, "got [6, 3]. Transpose the matrix" in printed) == (1, True)
    status, printed = run(save(effects[:, :5], "npy", tmp_path), folder, capsys)
    assert (status, "got [3, 5]. Score every training row" in printed) == (1, True)
    status, printed = run(save(effects * np.inf, "safetensors", tmp_path), folder, capsys)
    assert (status, "got 18 that are not" in printed) == (1, True)
    np.save(tmp_path / "mine.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    status, printed = run(tmp_path / "mine.npy", folder, capsys)
    assert (status, "expected a readable file .npy" in printed) == (1, True)
    both = {name: torch.zeros(3, 6) for name in "ab"}
    save_file(both, tmp_path / "mine.safetensors")
    status, printed = run(tmp_path / "mine.safetensors", folder, capsys)
    assert (status, "expected one tensor; got 2: a, b" in printed) == (1, True)
    (tmp_path / "mine.csv").touch()
    assert run(tmp_path / "mine.csv", folder, capsys)[0] == 1
    assert "no such file" in run(tmp_path / "none.npy", folder, capsys)[1]


def test_an_unknown_workload_is_refused(effects, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("FASTIF_DATA", raising=False)
    assert main([str(save(effects, "npy", tmp_path)), "--workload", "none"]) == 1
    assert "expected a workload with a truth; got 'none'" in capsys.readouterr().out


@pytest.mark.parametrize("file", FILES)
def test_a_damaged_truth_is_refused_by_name(file, folder):
    path = folder / "tiny" / file
    frame = pl.read_parquet(path)
    frame.rename({FILES[file][-1]: "other"}).write_parquet(path)
    with pytest.raises(InputError, match=rf"{file}: .* got no column {FILES[file][-1]}"):
        read_published(folder / "tiny")
    path.unlink()
    with pytest.raises(InputError, match=rf"{file}: .* got none"):
        read_published(folder / "tiny")


def test_missing_and_repeated_outcomes_are_refused(folder):
    path = folder / "tiny" / "outcomes.parquet"
    frame = pl.read_parquet(path)
    for damaged in (frame[:-1], pl.concat([frame[1:], frame[1:2]])):
        damaged.write_parquet(path)
        with pytest.raises(InputError, match="missing or twice there"):
            read_published(folder / "tiny")


def test_the_truth_in_the_repository_is_that_of_the_kept_result():
    workloads = read_result("fidelity")["workloads"]
    published = {name: read_published(PUBLISHED / name) for name in list_published(PUBLISHED)}
    assert published
    for name, part in published.items():
        kept = workloads.get(name)
        if kept is None or (kept["seeds"], kept["sets"]) != (part.truth.seeds, ["A", "B"]):
            assert part.facts["methods"] == []  # its methods are not measured on this truth yet
            continue
        assert asdict(part.truth.ceiling) == pytest.approx(workloads[name]["ceiling"], abs=1e-4)
        assert (len(part.train_ids), part.truth.seeds) == (
            workloads[name]["rows"],
            workloads[name]["seeds"],
        )
    card = (PUBLISHED / "README.md").read_text("utf-8")
    assert card == render_card(list(published.values()))


def test_the_program_of_the_card_computes_the_score(folder, effects, tmp_path, monkeypatch, capsys):
    _, printed = run(save(effects, "parquet", tmp_path), folder, capsys)
    published = read_published(folder / "tiny")
    published.facts.update(recipe="a", source="b", licence="c")
    code = render_card([published]).partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(folder)
    save(effects, "parquet", folder)
    exec(code)
    alone = float(capsys.readouterr().out)
    row = next(line for line in printed.splitlines() if line.startswith("mine"))
    assert row.split()[2] == f"{alone:.3f}"
