"""Training of an ensemble made from its rows, with the check that leaf values come out the same."""

from dataclasses import dataclass, replace
from math import isnan

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from fastif.errors import InputError
from fastif.trees.ensemble import TreeEnsemble
from fastif.trees.leaf_step import divide
from fastif.trees.training import TreeRound, TreeTraining, replace_trees, sum_leaf
from fastif.trees.tree import Tree

TOLERANCE = 1e-3
"""Largest difference of a leaf value from its repetition, relative to the largest leaf value."""
SAMPLED_TOLERANCE = 0.7
"""Largest difference where each tree was fitted to a sample: the share of the values' squares."""
_WHERE = "training rows"


@dataclass(frozen=True)
class FitSettings:
    """Settings of a training that the file of its ensemble may lack, as XGBoost's does.

    Attributes:
        learning_rate: Learning rate (XGBoost's eta).
        l2: L2 penalty of leaf values (XGBoost's lambda).
        l1: L1 penalty of leaf values (XGBoost's alpha).
        subsample: Share of rows that each tree was fitted to. Which rows is not known, so each
            counts with this share in all trees.
    """

    learning_rate: float | None = None
    l2: float | None = None
    l1: float | None = None
    subsample: float | None = None


def trace_training(
    ensemble: TreeEnsemble,
    rows: Float[Tensor, "n f"],
    targets: Shaped[Tensor, " t"],
    weights: Float[Tensor, " w"] | None = None,
    settings: FitSettings | None = None,
) -> TreeTraining:
    """Repeat the fit of an ensemble's leaf values on its training rows.

    Learning rate and L2 penalty of XGBoost, which its file lacks, are found from the leaf values.

    Args:
        ensemble: Ensemble as read.
        rows: Features in the order of the ensemble's columns, NaN where missing.
        targets: Class numbers, or numbers of a regression.
        weights: Weights of the rows in training; 1 by default.
        settings: Settings of training that are not in the file.

    Raises:
        InputError: The rows do not give the leaf values of the ensemble: they are other rows, or
            weights and settings were others.
    """
    weights = _check(ensemble, rows, targets, weights)
    ensemble = _apply_settings(ensemble, settings or FitSettings())
    share = ensemble.subsample
    weights = weights * share
    of_label = torch.where(targets == 1, ensemble.positive_weight, 1.0).double()
    factor = 1 / of_label  # the start is of the rows without the weights of labels
    weights = weights * of_label
    ensemble, starts = _set_start(ensemble, targets, weights * factor)
    leaves = ensemble.assign(rows)
    training = TreeTraining(
        ensemble, leaves, targets, weights, (), factor, starts, 0.0, ensemble.notes
    )
    training = _set_penalties(training)
    training, unexplained = _choose_penalties(training)
    if share < 1:
        if unexplained > SAMPLED_TOLERANCE:
            raise _make_deviation_error(training.deviation)
        note = (
            f"Each tree was fitted to {share:.0%} of the rows, which the file does not name: every "
            "row counts in every tree with this share. The rows explain "
            f"{1 - unexplained:.0%} of the squares of the leaf values."
        )
        return replace(training, notes=(*training.notes, note), deviation=float("nan"))
    if training.deviation > TOLERANCE:
        raise _make_deviation_error(training.deviation)
    return training


def _apply_settings(ensemble: TreeEnsemble, settings: FitSettings) -> TreeEnsemble:
    """Return the ensemble with the settings that are given.

    Raises:
        InputError: Leaves were fitted to samples of rows, and rate or penalty are not known.
    """
    rate = settings.learning_rate
    trees = [
        replace(tree, rate=rate) if rate is not None and isnan(tree.rate) else tree
        for tree in ensemble.trees
    ]
    stated = {"l1": settings.l1, "l2": settings.l2, "subsample": settings.subsample}
    changes = {name: value for name, value in stated.items() if value is not None}
    ensemble = replace(replace_trees(ensemble, trees), **changes)
    is_unknown = ensemble.l2 is None or any(isnan(tree.rate) for tree in trees)
    if ensemble.subsample < 1 and is_unknown:
        raise InputError(
            "settings",
            "learning rate and L2 penalty of a model whose trees were fitted to samples of rows",
            "neither the file nor the settings have them",
            "Give FitSettings(learning_rate=..., l2=..., subsample=...).",
        )
    return ensemble


def _make_deviation_error(deviation: float) -> InputError:
    return InputError(
        _WHERE,
        "rows from which the leaf values of the model follow",
        f"leaf values that differ by up to {deviation:.2g} of the largest",
        "Give the rows, labels and weights of training in full, or train the model again on these; "
        "a model fitted to a sample of rows in each "
        "tree needs its subsample, and one of XGBoost with an L1 penalty its l1.",
    )


def _check(
    ensemble: TreeEnsemble,
    rows: Float[Tensor, "n f"],
    targets: Shaped[Tensor, " t"],
    weights: Float[Tensor, " w"] | None,
) -> Float[Tensor, " n"]:
    """Check shapes and values of the training rows, and return their weights."""
    if len(rows) != len(targets) or not len(rows):
        got = f"{len(rows)} rows and {len(targets)} targets"
        raise InputError(_WHERE, "a target for each row", got, "Give both of the same rows.")
    classes = 2 if ensemble.loss.outputs == 1 else ensemble.loss.outputs
    invalid = ensemble.loss.measure.find_invalid_targets(targets, ensemble.loss.outputs)
    if invalid is not None:
        first = targets[invalid[1]][:3].tolist()
        expected = f"{invalid[0]} (a model of {classes} classes)" if classes > 1 else invalid[0]
        raise InputError("targets", expected, f"{first}", "Correct them, or remove the rows.")
    if weights is None:
        return torch.ones(len(rows), dtype=torch.double)
    if weights.shape != targets.shape or not bool((weights >= 0).all() & weights.isfinite().all()):
        remedy = "Give the weights of training, or none."
        raise InputError("weights", "a number of 0 or more for each row", "others", remedy)
    return weights.double()


def _set_start(
    ensemble: TreeEnsemble, targets: Shaped[Tensor, " n"], weights: Float[Tensor, " n"]
) -> tuple[TreeEnsemble, bool]:
    """Return the ensemble from its start of training, and whether that comes from the rows."""
    start = ensemble.loss.start(targets, weights)
    if ensemble.base_is_in_first:
        first = tuple(
            replace(tree, values=tree.values - start[tree.outputs]) for tree in ensemble.rounds[0]
        )
        rounds = (first, *ensemble.rounds[1:])
        return replace(ensemble, rounds=rounds, base=start, base_is_in_first=False), True
    if ensemble.starts_from_data is not None:
        return ensemble, ensemble.starts_from_data
    shift = start - ensemble.base
    if ensemble.loss.outputs > 1:
        shift = shift - shift.mean()  # softmax does not depend on a common shift
    is_start = bool(shift.abs().max() < 1e-4 * (1 + start.abs().max()))
    if is_start:
        return replace(ensemble, base=start), True
    note = "The base score does not follow from the rows, so it is taken for a constant."
    return replace(ensemble, notes=(*ensemble.notes, note)), False


def _set_penalties(training: TreeTraining) -> TreeTraining:
    """Return the training with the penalty of each leaf, and the rate where the file lacks it."""
    ensemble = training.ensemble
    trees, l2 = ensemble.trees, ensemble.l2
    if ensemble.library == "catboost" and l2 is not None:
        l2 = l2 * float(training.weights.mean())
    if l2 is None or any(isnan(tree.rate) for tree in trees):
        rate, solved = _solve_rate(training)
        l2 = solved if l2 is None else l2
        trees = [replace(tree, rate=rate) if isnan(tree.rate) else tree for tree in trees]
        known = next((tree.rate for tree in trees if tree.rate), rate)
        note = f"Learning rate {known:.4g} and L2 penalty {l2:.4g}, found from the leaf values."
        training = replace(training, notes=(*training.notes, note))
    penalties = tuple(l2 + tree.extra_l2 for tree in trees)
    return replace(training, ensemble=replace_trees(ensemble, trees), l2=penalties)


def _solve_rate(training: TreeTraining) -> tuple[float, float]:
    """Return learning rate η and penalty λ by least squares of θ H = -η G - λ θ over all leaves."""
    no_penalty = tuple(torch.zeros(len(tree.values)) for tree in training.ensemble.trees)
    training = replace(training, l2=no_penalty)
    values, gradients, curvatures, l1 = [], [], [], training.ensemble.l1
    for step in training.iterate_rounds():
        for place, tree in enumerate(step.trees):
            if len(tree.values) > 1:
                total, curvature = sum_leaf(training, step, place)
                values.append(tree.values.flatten())
                gradients.append((total.sign() * (total.abs() - l1).clamp_min(0)).flatten())
                curvatures.append(curvature.flatten())
    if not values:
        return 1.0, 0.0
    value, gradient = torch.cat(values), torch.cat(gradients)
    scale = 1 / (1 + torch.cat(curvatures).abs())  # small leaves have as much to say
    matrix = torch.stack([-gradient, -value], 1) * scale[:, None]
    right = (value * torch.cat(curvatures) * scale)[:, None]
    rate, l2 = torch.linalg.lstsq(matrix, right, driver="gelsd").solution.flatten().tolist()
    return rate, max(0.0, l2)


def _choose_penalties(training: TreeTraining) -> tuple[TreeTraining, float]:
    """Return the training with the penalty of each leaf that gives its stored value.

    Also the share of the squares of all leaf values that the rows do not explain. LightGBM adds
    `cat_l2` below a split of several categories, and not below a one-hot one.
    """
    penalties, largest, deviation, missed, squares = [], 0.0, 0.0, 0.0, 0.0
    for step in training.iterate_rounds():
        for place, tree in enumerate(step.trees):
            with_extra = step.l2[place]
            chosen, differences = _compare(training, step, place, tree, with_extra)
            penalties.append(chosen)
            if tree.rate:
                largest = max(largest, float(tree.values.abs().max()))
                deviation = max(deviation, float(differences.max()))
                missed += float(differences.square().sum())
                squares += float(tree.values.square().amax(1).sum())
    relative = deviation / largest if largest else 0.0
    training = replace(training, l2=tuple(penalties), deviation=relative)
    return training, missed / squares if squares else 0.0


def _compare(
    training: TreeTraining, step: TreeRound, place: int, tree: Tree, with_extra: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the penalty of each leaf of a tree, and the difference of its value."""
    total, curvature = sum_leaf(training, step, place)
    l1 = training.ensemble.l1
    total = total.sign() * (total.abs() - l1).clamp_min(0)
    differences = [
        (tree.values + tree.rate * divide(total[:, None], curvature[:, None], l2)[:, 0]).abs()
        for l2 in (with_extra, with_extra - tree.extra_l2)
    ]
    first, second = (difference.amax(-1) for difference in differences)
    chosen = torch.where(second < first, with_extra - tree.extra_l2, with_extra)
    return chosen, torch.minimum(first, second)
