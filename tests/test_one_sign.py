"""One convention of sign: effects are computed once, and `harm` is positive in every place.

The first test reads the packages' source: nothing called an effect, a score, an influence or harm
is negated outside `fastif/attribution/influence.py`. The others have a truth in closed
form: the least-squares estimate of a mean, where leaving a row out can be written down.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import polars as pl
import pytest
import torch
from torch import nn

import fastif
import storage
from storage import polars_schema, rank_harmful_rows
from storage.queries import HARM, sum_harm_by_train
from storage.schemas import SCORES
from tasks.report.mislabels import _list_harmed_queries
from tasks.report.run_data import RunData
from tasks.report.worst_queries import find_most_harmful
from tasks.results.summary import Summary

ROOT = Path(storage.__file__).parents[1]
PACKAGES = ("fastif", "storage", "tasks", "flows")
SOURCE_OF_SIGN = "fastif/attribution/influence.py"
SIGNED = re.compile("effect|harm|score|influence", re.IGNORECASE)
ALLOWED = {
    # Rows are ranked by several measures, the most suspicious highest: a net effect comes in turned
    # round and is neither stored nor shown.
    ("tasks/experiments/label_noise.py", "-summed['effect']"),
    # Columns of a new table are ranked by how well their names fit a role, the best first.
    ("tasks/onboarding/group_columns.py", "-score_name(name, NAMES)"),
    ("tasks/onboarding/label_column.py", "-scores[name]"),
    ("tasks/onboarding/text_columns.py", "-reading.score"),
    ("tasks/onboarding/text_columns.py", "-scores[name]"),
}


def is_named_as_score(node: ast.AST) -> bool:
    """Whether a name, an attribute or a column in the expression speaks of scores."""
    for part in ast.walk(node):
        name = {ast.Name: "id", ast.Attribute: "attr", ast.Constant: "value"}.get(type(part))
        if name and SIGNED.search(str(getattr(part, name))):
            return True
    return False


def is_minus_one(node: ast.AST) -> bool:
    try:
        return ast.literal_eval(node) == -1
    except ValueError:
        return False


def list_negations(source: str) -> Iterator[str]:
    """Every expression that turns the sign of what is named as a score."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                negated = operand
            case ast.BinOp(op=ast.Mult() | ast.Div(), left=left, right=right) if is_minus_one(
                left
            ) or is_minus_one(right):
                negated = node
            case ast.BinOp(op=ast.Sub(), left=ast.Constant(value=0), right=right):
                negated = right
            case ast.Call(func=ast.Attribute(attr="neg" | "neg_" | "negative" | "negate")):
                negated = node
            case _:
                continue
        if is_named_as_score(negated):
            yield ast.unparse(node)


def test_no_score_is_negated_outside_influence():
    negations = {
        (path.relative_to(ROOT).as_posix(), expression)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for expression in list_negations(path.read_text("utf-8"))
    }
    assert {place for place in negations if place[0] != SOURCE_OF_SIGN} == ALLOWED


@pytest.mark.parametrize(
    "source",
    [
        "-effect",
        "x = -data.harm['harm'].to_numpy()",
        "-pl.col('removal_effect').cast(pl.Float64)",
        "scores * -1",
        "-1.0 * scores",
        "scores.neg()",
        "torch.neg(influences)",
        "0 - harm",
    ],
)
def test_a_negation_is_recognized(source):
    assert list(list_negations(source))


@pytest.mark.parametrize("source", ["-loss", "scores - 1", "a - effect", "effects * 2", "-1"])
def test_other_arithmetic_is_not(source):
    assert not list(list_negations(source))


TRAIN = torch.tensor([0.0, 0.1, -0.1, 0.2, 3.0])
QUERY = 0.0
"""The mean of the rows is 0.64, and without the last one 0.05: that one alone does harm."""


def compute_loss(rows: torch.Tensor) -> float:
    """The query's squared error under the least-squares estimate of a mean."""
    return (float(rows.mean()) - QUERY) ** 2


def score_rows() -> pl.DataFrame:
    """The removal effects of the rows by the package, as its table of scores holds them."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, float(TRAIN.mean()))
    objective = fastif.ModuleObjective(model, fastif.SquaredError())
    train = fastif.TensorExamples(torch.ones(len(TRAIN), 1), TRAIN[:, None])
    query = fastif.TensorExamples(torch.ones(1, 1), torch.tensor([[QUERY]]))
    operator = fastif.GaussNewton(objective, train).with_damping(1e-9)
    attributor = fastif.Attributor(objective, train, operator, fastif.Direct())
    influences = attributor(query, fastif.all_ids(query)).influences
    ids, effects = influences.ids[0].tolist(), influences.removal_effect[0].tolist()
    rows = [
        (0, i, rank, effect, None, None, None)
        for rank, (i, effect) in enumerate(zip(ids, effects, strict=True))
    ]
    return pl.DataFrame(rows, schema=polars_schema(SCORES), orient="row")


def test_harm_is_positive_for_the_row_whose_removal_lowers_the_loss():
    scores = score_rows()
    before = compute_loss(TRAIN)
    change = [
        compute_loss(TRAIN[torch.arange(len(TRAIN)) != i]) - before for i in range(len(TRAIN))
    ]
    n = len(TRAIN)
    effects = dict(scores.select("train", "removal_effect").iter_rows())
    worst = min(range(n), key=lambda i: effects[i])
    assert worst == min(range(n), key=lambda i: change[i]) == 4
    assert effects[worst] < 0
    assert change[worst] < 0
    assert all((effects[i] < 0) == (change[i] < 0) for i in range(n))

    sums = sum_harm_by_train(scores.lazy()).collect()
    harm = dict(sums.select("train", "harm").iter_rows())
    assert harm[worst] == max(harm.values()) == pytest.approx(abs(effects[worst]))
    assert {i for i, value in harm.items() if value > 0} == {worst}
    assert all(value >= 0 for value in harm.values())
    assert scores.select("train", harm=HARM).filter(pl.col("harm") > 0)["train"].to_list() == [
        worst
    ]
    ranked = rank_harmful_rows(scores.lazy(), 9).collect()
    assert ranked["train"].to_list() == [worst]
    assert ranked["harmful_effect"].item() < 0


def test_the_report_has_harm_by_the_same_sign():
    scores = score_rows()
    train = pl.DataFrame(
        {"train": range(len(TRAIN)), "label": "a"}, schema_overrides={"train": pl.UInt32}
    )
    queries = pl.DataFrame({"query": [0], "id": ["q"]}, schema_overrides={"query": pl.UInt32})
    data = RunData(
        "run", cast(Summary, None), queries, train, scores, pl.DataFrame(), (), None, None
    )
    assert data.harm["train"].to_list() == train["train"].to_list()
    assert (data.harm["harm"] >= 0).all()
    assert data.harm.sort("harm")["train"].last() == 4
    (row,) = find_most_harmful(data)
    assert row["train"] == 4
    assert row["harm"] > 0 > row["harmful_effect"]
    ((_, harm),) = _list_harmed_queries(data, train)[4]
    assert harm == pytest.approx(row["harm"])
