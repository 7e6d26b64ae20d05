"""Reader of CatBoost's JSON format of a model."""

from collections.abc import Mapping
from typing import Any

import torch

from fastif.errors import InputError
from fastif.trees.boosting_loss import BoostingLoss, HalfSquaredError, Logistic, Softmax
from fastif.trees.ensemble import TreeEnsemble
from fastif.trees.tree import Tree

WHERE = "CatBoost model"
Document = dict[str, Any]


def read_catboost(document: Document) -> TreeEnsemble:
    """Read a model as `CatBoost.save_model(..., format="json", pool=pool)` writes it.

    Raises:
        InputError: Something of the model is not supported.
    """
    if "oblivious_trees" not in document:
        remedy = 'Train with grow_policy = "SymmetricTree".'
        raise _refuse("symmetric trees", "trees of another grow_policy", remedy)
    features, information = document["features_info"], document["model_info"]
    parameters = information.get("params")
    if not isinstance(parameters, dict):
        remedy = "Effects need learning rate and penalty of training; save the trained model."
        raise _refuse("the parameters of training", "a model without them", remedy)
    _check_training(parameters)
    names = [str(name) for name in information.get("class_params", {}).get("class_names", [])]
    loss = _read_loss(parameters["loss_function"], max(2, len(names)))
    scale, bias = document["scale_and_bias"]
    bias = torch.tensor(bias, dtype=torch.double).reshape(-1).expand(loss.outputs).clone()
    learner, boosting = parameters["tree_learner_options"], parameters["boosting_options"]
    columns = _Columns(features)
    trees = [
        _read_tree(tree, columns, loss.outputs, float(scale), float(boosting["learning_rate"]))
        for tree in document["oblivious_trees"]
    ]
    return TreeEnsemble(
        library="catboost",
        loss=loss,
        rounds=tuple((tree,) for tree in trees),
        base=bias,
        starts_from_data=bool(boosting["boost_from_average"]),
        features=columns.names,
        categories=columns.categories,
        single_precision=True,
        l2=float(learner["l2_leaf_reg"]),
        joint_newton=loss.outputs > 1,
        class_names=tuple(names),
    )


def _refuse(expected: str, got: str, change: str) -> InputError:
    return InputError(WHERE, expected, got, change)


def _read_loss(objective: Document, classes: int) -> BoostingLoss:
    """Return the loss of an objective."""
    kind = objective["type"]
    if kind in ("Logloss", "CrossEntropy"):
        return Logistic()
    if kind == "MultiClass":
        return Softmax(classes, 1.0)
    if kind == "RMSE":
        return HalfSquaredError()
    expected = "the loss function Logloss, MultiClass or RMSE"
    raise _refuse(expected, kind, "Train the model with one of these.")


def _check_training(parameters: Document) -> None:
    """Check that leaf values are one Newton step of plain boosting on all rows.

    Raises:
        InputError: A parameter makes other leaf values.
    """
    learner, boosting = parameters["tree_learner_options"], parameters["boosting_options"]
    is_squared = parameters["loss_function"]["type"] == "RMSE"
    conditions = {
        "boosting_type": (boosting["boosting_type"], "Plain"),
        "leaf_estimation_iterations": (learner["leaf_estimation_iterations"], 1),
        "model_shrink_rate": (boosting.get("model_shrink_rate", 0), 0),
        "langevin": (boosting.get("langevin", False), False),
    }
    _read_loss(parameters["loss_function"], 2)
    if not is_squared:  # with the squared error both methods are the same
        conditions["leaf_estimation_method"] = (learner["leaf_estimation_method"], "Newton")
    weights = parameters["data_processing_options"]
    conditions["auto_class_weights"] = (weights.get("auto_class_weights", "None"), "None")
    conditions["class_weights"] = (weights.get("class_weights", []), [])
    for name, (value, supported) in conditions.items():
        if value != supported:
            remedy = "Leaf values of this setting are not supported; train with the other."
            if name.endswith("class_weights"):
                remedy = "Give them as weights of the rows."
            raise _refuse(f"{name} = {supported}", f"{value}", remedy)


class _Columns:
    """Columns of a CatBoost model: positions, missing values, and numbers of categories.

    Raises:
        InputError: A feature is a text or an embedding, or categories lack their names.
    """

    def __init__(self, information: Document) -> None:
        for kind in ("text_features", "embedding_features"):
            if information.get(kind):
                raise _refuse("numbers and categories", kind, "Train without these columns.")
        self._numbers = information.get("float_features") or []
        self._categories = information.get("categorical_features") or []
        both = [*self._numbers, *self._categories]
        size = max((column["flat_feature_index"] for column in both), default=-1) + 1
        names = [""] * size
        for column in both:
            names[column["flat_feature_index"]] = str(column.get("feature_name", ""))
        self.names = tuple(names)
        hashes = information.get("cat_features_hash") or []
        self._texts = {entry["hash"] & 0xFFFFFFFF: entry["value"] for entry in hashes}
        used = [column for column in self._categories if column.get("values")]
        numbers = {text: place for place, text in enumerate(sorted(self._texts.values()))}
        self.categories: Mapping[int, Mapping[str, int]] = {
            column["flat_feature_index"]: numbers for column in self._categories
        }
        self._codes = numbers
        if used and not self._texts:
            remedy = 'Save it with its data: save_model(path, format="json", pool=pool).'
            raise _refuse("the names of the categories", "a file without them", remedy)

    def read_split(self, split: Document) -> tuple[int, float, bool, int | None]:
        """Return column, threshold, side of a missing value, and category of a split."""
        if split["split_type"] == "FloatFeature":
            column = self._numbers[split["float_feature_index"]]
            is_left = column["nan_value_treatment"] != "AsTrue"
            return column["flat_feature_index"], float(split["border"]), is_left, None
        if split["split_type"] == "OneHotFeature":
            column = self._categories[split["cat_feature_index"]]
            text = self._texts.get(int(split["value"]) & 0xFFFFFFFF)
            if text is None:
                raise _refuse("the name of each category", "one without", "Save it with its pool.")
            return column["flat_feature_index"], 0.0, True, self._codes[text]
        remedy = (
            "Set one_hot_max_size to the largest number of categories of a column, or encode them."
        )
        raise _refuse("categories one-hot", f"{split['split_type']}: target statistics", remedy)


def _read_tree(tree: Document, columns: _Columns, outputs: int, scale: float, rate: float) -> Tree:
    """Read a symmetric tree: the test of level d sets bit d of the leaf's number."""
    tests = [columns.read_split(split) for split in tree.get("splits") or []][::-1]
    nodes = [test for level, test in enumerate(tests) for _ in range(2**level)]
    children = torch.arange(1, 2 * len(nodes) + 1).reshape(-1, 2)
    leaves = len(nodes) + 1
    children = torch.where(children >= len(nodes), -(children - len(nodes)) - 1, children)
    values = torch.tensor(tree["leaf_values"], dtype=torch.double).reshape(leaves, -1) * scale
    sets = [test[3] for test in nodes]
    table = torch.ones(len(nodes), max((s for s in sets if s is not None), default=-1) + 2).bool()
    for row, category in enumerate(sets):
        if category is not None:
            table[row, category] = False
    is_category = torch.tensor([category is not None for category in sets], dtype=torch.bool)
    return Tree(
        feature=torch.tensor([test[0] for test in nodes], dtype=torch.long),
        threshold=torch.tensor([test[1] for test in nodes], dtype=torch.double),
        left=children[:, 0],
        right=children[:, 1],
        missing_left=torch.tensor([test[2] for test in nodes], dtype=torch.bool),
        zero_is_missing=torch.zeros(len(nodes), dtype=torch.bool),
        category_row=torch.where(is_category, torch.arange(len(nodes)), torch.tensor(-1)),
        goes_left=table if bool(is_category.any()) else table[:0],
        values=values,
        output=None if outputs > 1 else 0,
        rate=rate * scale if nodes else 0.0,
        extra_l2=torch.zeros(leaves, dtype=torch.double),
    )
