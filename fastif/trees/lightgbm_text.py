"""Reader of LightGBM's text format of a model."""

import json
from collections.abc import Mapping

import torch

from fastif.errors import InputError
from fastif.trees.boosting_loss import BoostingLoss, HalfSquaredError, Logistic, Softmax
from fastif.trees.ensemble import TreeEnsemble
from fastif.trees.tree import Tree

WHERE = "LightGBM model"
_MISSING_ZERO = 1
_REFUSED = {  # value of a parameter with which leaf values are what they are taken for
    "linear_tree": "0",
    "path_smooth": "0",
    "max_delta_step": "0",
    "monotone_constraints": "",
    "reg_sqrt": "0",
    "use_quantized_grad": "0",
}
Fields = Mapping[str, str]


def read_lightgbm(text: str) -> TreeEnsemble:
    """Read a model as `Booster.save_model` writes it.

    Raises:
        InputError: Something of the model is not supported, or the text is incomplete.
    """
    if "end of trees" not in text:
        raise _refuse("a complete model file", "a file without its end", "Save the model again.")
    head, *blocks = text.split("end of trees")[0].split("\nTree=")
    header = _read_fields(head)
    parameters = _read_parameters(text)
    loss = _read_loss(header)
    _check_training(header, parameters)
    rate = float(parameters.get("learning_rate", "nan"))
    trees = [_read_tree(block, parameters) for block in blocks]
    outputs = int(header["num_tree_per_iteration"])
    placed = [_place_tree(tree, index, outputs, rate) for index, tree in enumerate(trees)]
    rounds = [tuple(placed[i : i + outputs]) for i in range(0, len(placed), outputs)]
    is_from_average = parameters.get("boost_from_average", "1") == "1"
    return TreeEnsemble(
        library="lightgbm",
        loss=loss,
        rounds=tuple(rounds),
        base=torch.zeros(outputs, dtype=torch.double),
        base_is_in_first=is_from_average,
        starts_from_data=is_from_average,
        features=tuple(header["feature_names"].split(" ")),
        categories=_read_categories(text, header),
        l1=float(parameters.get("lambda_l1", "0")),
        l2=float(parameters["lambda_l2"]) if "lambda_l2" in parameters else None,
        positive_weight=float(parameters.get("scale_pos_weight", "1")),
        subsample=_read_subsample(parameters),
    )


def _refuse(expected: str, got: str, change: str) -> InputError:
    return InputError(WHERE, expected, got, change)


def _read_fields(block: str) -> Fields:
    """Return the lines `key=value` of a block."""
    pairs = [line.split("=", 1) for line in block.splitlines() if "=" in line]
    return dict(pairs)


def _read_parameters(text: str) -> Fields:
    """Return the parameters of training, which stand after the trees."""
    part = text.partition("\nparameters:")[2].partition("end of parameters")[0]
    lines = [line.strip()[1:-1] for line in part.splitlines() if line.strip().startswith("[")]
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _read_loss(header: Fields) -> BoostingLoss:
    """Return the loss of the objective that the header names."""
    if "objective" not in header:
        raise _refuse("an objective", "a model of an own objective", "Use a built-in objective.")
    name, *options = header["objective"].split(" ")
    settings = dict(option.split(":", 1) for option in options if ":" in option)
    if name == "binary":
        return Logistic(float(settings.get("sigmoid", "1")))
    if name == "multiclass":
        classes = int(settings["num_class"])
        return Softmax(classes, classes / (classes - 1))
    if name == "regression" and "sqrt" not in options:
        return HalfSquaredError()
    raise _refuse(
        "the objective binary, multiclass or regression",
        header["objective"],
        "Other objectives are not supported; train the model with one of these.",
    )


def _check_training(header: Fields, parameters: Fields) -> None:
    """Check that leaf values are Newton steps of plain gradient boosting.

    Raises:
        InputError: The booster or a parameter makes other leaf values.
    """
    booster = parameters.get("boosting", "gbdt")
    if booster not in ("gbdt", "gbrt", "goss") or "average_output" in header:
        got = "rf" if "average_output" in header else booster
        raise _refuse("boosting = gbdt", got, "Leaf values of dart and rf are not supported.")
    for name, value in _REFUSED.items():
        if parameters.get(name, value) != value:
            raise _refuse(
                f"{name} = {value or 'none'}",
                parameters[name],
                f"Leaf values are not supported with {name}; train without it.",
            )
    if parameters.get("is_unbalance", "0") != "0":
        remedy = "Train with scale_pos_weight, or give the weights of the rows."
        raise _refuse("is_unbalance = 0", parameters["is_unbalance"], remedy)


def _read_subsample(parameters: Fields) -> float:
    """Return the share of rows of a tree; GOSS keeps its top rows and samples others."""
    booster, strategy = parameters.get("boosting"), parameters.get("data_sample_strategy")
    if "goss" in (booster, strategy):
        return float(parameters["top_rate"]) + float(parameters["other_rate"])
    if parameters.get("bagging_freq", "0") == "0":
        return 1.0
    rates = ("bagging_fraction", "pos_bagging_fraction", "neg_bagging_fraction")
    return min(float(parameters.get(name, "1")) for name in rates)


def _read_categories(text: str, header: Fields) -> dict[int, dict[str, int]]:
    """Return the numbers of pandas' categories, by the position of their column."""
    line = text.rpartition("pandas_categorical:")[2].strip().splitlines()
    lists = json.loads(line[0]) if line else None
    if not lists:
        return {}
    ranges = header["feature_infos"].split(" ")
    columns = [place for place, values in enumerate(ranges) if not values.startswith("[")]
    columns = [place for place in columns if ranges[place] != "none"]
    if len(columns) != len(lists):
        return {}
    return {
        column: {str(name): number for number, name in enumerate(names)}
        for column, names in zip(columns, lists, strict=True)
    }


def _read_tree(block: str, parameters: Fields) -> Tree:
    """Read the arrays of one tree.

    Raises:
        InputError: The leaves have linear models.
    """
    fields = _read_fields(block)
    if fields.get("is_linear", "0") != "0":
        raise _refuse("leaves of constants", "linear_tree", "Train without linear_tree.")
    decision = _read_whole(fields, "decision_type")
    threshold = _read_numbers(fields, "threshold")
    is_category = (decision & 1).bool()
    missing, default_left = (decision >> 2) & 3, (decision & 2).bool()
    goes_left = _read_goes_left(fields, threshold, is_category)
    row = torch.where(is_category, is_category.long().cumsum(0) - 1, torch.tensor(-1))
    # A node that saw no missing value takes NaN for zero; categories send it right.
    without = torch.where(is_category, torch.tensor(False), threshold >= 0)
    values = _read_numbers(fields, "leaf_value")[:, None]
    children = [_read_whole(fields, side) for side in ("left_child", "right_child")]
    missing_left = torch.where(missing == 0, without, default_left & ~is_category)
    return Tree(
        feature=_read_whole(fields, "split_feature"),
        threshold=threshold,
        left=children[0],
        right=children[1],
        missing_left=missing_left,
        zero_is_missing=(missing == _MISSING_ZERO) & ~is_category,
        category_row=row,
        goes_left=goes_left,
        values=values,
        output=0,
        rate=float(fields.get("shrinkage", "1")),
        extra_l2=_read_extra_l2(children, row, len(values), parameters),
    )


def _read_goes_left(
    fields: Fields, threshold: torch.Tensor, is_category: torch.Tensor
) -> torch.Tensor:
    """Return which categories go left at each node of categories."""
    if not bool(is_category.any()):
        return torch.zeros(0, 1, dtype=torch.bool)
    bounds = [int(bound) for bound in fields["cat_boundaries"].split()]
    words = [int(word) for word in fields["cat_threshold"].split()]
    sets = []
    for index in threshold[is_category].long().tolist():
        part = words[bounds[index] : bounds[index + 1]]
        bits = ((32 * i + bit, word >> bit & 1) for i, word in enumerate(part) for bit in range(32))
        sets.append([category for category, is_set in bits if is_set])
    table = torch.zeros(len(sets), max(max(s, default=0) for s in sets) + 2, dtype=torch.bool)
    for row, members in enumerate(sets):
        table[row, members] = True
    return table


def _read_extra_l2(
    children: list[torch.Tensor], category_row: torch.Tensor, leaves: int, parameters: Fields
) -> torch.Tensor:
    """Return `cat_l2` for each leaf below a split of categories, where several went left."""
    l2 = torch.zeros(leaves, dtype=torch.double)
    extra = float(parameters.get("cat_l2", "10"))
    for side in children:
        below = (side < 0) & (category_row >= 0)
        l2[-side[below] - 1] = extra
    return l2


def _place_tree(tree: Tree, index: int, outputs: int, rate: float) -> Tree:
    """Return a tree with its output and its learning rate, which the first round has not."""
    fields = dict(vars(tree), output=index % outputs)
    if len(tree.values) == 1:
        fields["rate"] = 0.0
    elif index < outputs:
        fields["rate"] = rate
    return Tree(**fields)


def _read_numbers(fields: Fields, name: str) -> torch.Tensor:
    numbers = [float(number) for number in fields.get(name, "").split()]
    return torch.tensor(numbers, dtype=torch.double)


def _read_whole(fields: Fields, name: str) -> torch.Tensor:
    return torch.tensor([int(number) for number in fields.get(name, "").split()], dtype=torch.long)
