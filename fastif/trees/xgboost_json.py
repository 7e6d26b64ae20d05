"""Reader of XGBoost's JSON and UBJSON formats of a model."""

from itertools import pairwise
from math import nan
from typing import Any

import numpy as np
import torch

from fastif.errors import InputError
from fastif.trees.boosting_loss import BoostingLoss, HalfSquaredError, Logistic, Softmax
from fastif.trees.ensemble import TreeEnsemble
from fastif.trees.tree import Tree

WHERE = "XGBoost model"
Document = dict[str, Any]
MAX_CATEGORIES = 2**20
"""Number below which the numbers of categories are; each node has a table of them."""


def read_xgboost(document: Document) -> TreeEnsemble:
    """Read a model as `Booster.save_model` writes it to a `.json` or `.ubj` file.

    Raises:
        InputError: Something of the model is not supported.
    """
    learner = document["learner"]
    booster = learner["gradient_booster"]
    _check_booster(booster)
    shape = learner["learner_model_param"]
    outputs = max(1, int(shape["num_class"]))
    loss, weight = _read_loss(learner["objective"], outputs)
    if int(shape.get("num_target", "1")) > 1:
        raise _refuse("one target", f"{shape['num_target']} targets", "Train a model for each.")
    trees = [
        _read_tree(tree, output)
        for tree, output in zip(
            booster["model"]["trees"], booster["model"]["tree_info"], strict=True
        )
    ]
    rounds = [tuple(trees[i : i + outputs]) for i in range(0, len(trees), outputs)]
    rounds, notes = _cut_rounds(rounds, learner.get("attributes", {}))
    return TreeEnsemble(
        library="xgboost",
        loss=loss,
        rounds=tuple(rounds),
        base=_read_base(shape["base_score"], loss, outputs),
        features=tuple(learner.get("feature_names", ())),
        categories=_read_categories(booster["model"].get("cats", {}), learner),
        single_precision=True,
        l2=None,
        positive_weight=weight,
        notes=notes,
    )


def _refuse(expected: str, got: str, change: str) -> InputError:
    return InputError(WHERE, expected, got, change)


def _check_booster(booster: Document) -> None:
    """Check that the booster adds one tree an output in each round.

    Raises:
        InputError: It is dart or gblinear, or grows a forest a round.
    """
    if booster["name"] != "gbtree":
        raise _refuse("booster = gbtree", booster["name"], "Other boosters are not supported.")
    parallel = int(booster["model"]["gbtree_model_param"].get("num_parallel_tree", "1"))
    if parallel > 1:
        remedy = "Forests are not supported; train with num_parallel_tree = 1."
        raise _refuse("one tree a round", f"num_parallel_tree = {parallel}", remedy)
    for tree in booster["model"]["trees"]:
        if int(tree["tree_param"].get("size_leaf_vector", "1")) > 1:
            remedy = 'Train with multi_strategy = "one_output_per_tree".'
            raise _refuse("a number a leaf", "vectors of several outputs", remedy)


def _read_loss(objective: Document, outputs: int) -> tuple[BoostingLoss, float]:
    """Return the loss of an objective, and the weight of rows of label 1."""
    name = objective["name"]
    weight = float(objective.get("reg_loss_param", {}).get("scale_pos_weight", "1"))
    if name in ("binary:logistic", "binary:logitraw", "reg:logistic"):
        return Logistic(), weight
    if name in ("multi:softprob", "multi:softmax"):
        return Softmax(outputs, 2.0), 1.0
    if name == "reg:squarederror":
        return HalfSquaredError(), weight
    expected = "binary:logistic, multi:softprob, multi:softmax or reg:squarederror"
    raise _refuse(f"the objective {expected}", name, "Train the model with one of these.")


def _read_base(text: str, loss: BoostingLoss, outputs: int) -> torch.Tensor:
    """Return the scores before the first tree, from a probability or number, or one an output."""
    numbers = [float(number) for number in str(text).strip("[]").split(",")]
    base = torch.tensor(numbers, dtype=torch.float32).double().expand(outputs).clone()
    return base.logit() if isinstance(loss, Logistic) else base


def _cut_rounds(
    rounds: list[tuple[Tree, ...]], attributes: Document
) -> tuple[list[tuple[Tree, ...]], tuple[str, ...]]:
    """Return the rounds that predict: those up to the best one after an early stop."""
    if "best_iteration" not in attributes:
        return rounds, ()
    best = int(attributes["best_iteration"]) + 1
    if best >= len(rounds):
        return rounds, ()
    note = f"The first {best} of {len(rounds)} rounds are used, up to best_iteration."
    return rounds[:best], (note,)


def _read_categories(cats: Document, learner: Document) -> dict[int, dict[str, int]]:
    """Return the numbers of categories that XGBoost encoded itself.

    Raises:
        InputError: The file has an encoder of categories in a form that is not known.
    """
    if not cats.get("enc"):
        return {}
    kinds = learner.get("feature_types", [])
    columns = [place for place, kind in enumerate(kinds) if kind == "c"]
    tables = [table for table in cats["enc"] if table.get("values")]
    if len(tables) != len(columns):
        raise _refuse("a table of categories for each column", f"{len(tables)}", "Use codes.")
    return {
        column: {name: number for number, name in enumerate(_read_names(table))}
        for column, table in zip(columns, tables, strict=True)
    }


def _read_names(table: Document) -> list[str]:
    """Return the names of one column's categories: numbers, or texts joined with offsets."""
    if "offsets" not in table:
        return [str(value) for value in table["values"]]
    joined, bounds = bytes(value % 256 for value in table["values"]), table["offsets"]
    return [joined[a:b].decode() for a, b in pairwise(bounds)]


def _read_tree(tree: Document, output: int) -> Tree:
    """Read one tree: a number below the condition goes left, a category of the set goes right."""
    left, right = (
        np.asarray(tree[f"{side}_children"], dtype=np.int64) for side in ("left", "right")
    )
    is_leaf, inner = left < 0, left >= 0
    index = np.where(is_leaf, np.cumsum(is_leaf) * -1, np.cumsum(inner) - 1)  # leaves -1, -2, ...
    condition = np.asarray(tree["split_conditions"], dtype=np.float32)
    threshold = np.nextafter(condition, np.float32(-np.inf)).astype(np.float64)
    types = np.asarray(tree.get("split_type") or np.zeros(len(left)), dtype=np.int64)
    row, goes_left = _read_goes_left(tree, len(left))
    values = condition[is_leaf].astype(np.float64)
    default_left = np.asarray(tree["default_left"], dtype=bool)
    assert not (types[inner] == 1).any() or len(goes_left)
    return Tree(
        feature=torch.from_numpy(np.asarray(tree["split_indices"], dtype=np.int64)[inner]),
        threshold=torch.from_numpy(threshold[inner]),
        left=torch.from_numpy(index[left[inner]]),
        right=torch.from_numpy(index[right[inner]]),
        missing_left=torch.from_numpy(default_left[inner]),
        zero_is_missing=torch.zeros(int(inner.sum()), dtype=torch.bool),
        category_row=torch.from_numpy(row[inner]),
        goes_left=goes_left,
        values=torch.from_numpy(values)[:, None],
        output=output,
        rate=nan if inner.any() else 0.0,  # the file does not say
        extra_l2=torch.zeros(len(values), dtype=torch.double),
    )


def _read_goes_left(tree: Document, nodes: int) -> tuple[np.ndarray, torch.Tensor]:
    """Return the row of each node's categories, and which categories go left in each row."""
    row = np.full(nodes, -1, dtype=np.int64)
    places = [int(node) for node in tree.get("categories_nodes", [])]
    if not places:
        return row, torch.zeros(0, 1, dtype=torch.bool)
    categories = [int(category) for category in tree["categories"]]
    if not 0 <= min(categories, default=0) <= max(categories, default=0) < MAX_CATEGORIES:
        raise _refuse(f"categories below {MAX_CATEGORIES:,}", "others", "Save the model again.")
    table = torch.ones(len(places), max(categories, default=0) + 2, dtype=torch.bool)
    spans = zip(tree["categories_segments"], tree["categories_sizes"], strict=True)
    for place, (node, (begin, size)) in enumerate(zip(places, spans, strict=True)):
        row[node] = place
        table[place, categories[int(begin) : int(begin) + int(size)]] = False
    return row, table
