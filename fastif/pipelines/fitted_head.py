"""Last step of a pipeline of scikit-learn as layers, with its loss and its L2 penalty."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastif.errors import InputError
from fastif.losses.cross_entropy import CrossEntropy
from fastif.losses.loss import Loss
from fastif.losses.squared_error import SquaredError

WHERE = "scikit-learn model"
BALANCED = "balanced"


@dataclass(frozen=True)
class FittedPenalty:
    """L2 penalty of a fit, as the weight decay of a mean over the training rows.

    The fit minimises 1/n Σ L + penalty/2 ‖weights‖², with penalty = constant + total/n +
    batched/min(n, batch).

    Attributes:
        constant: Part that does not depend on the number of rows.
        total: Part that is divided by the number of rows n.
        batched: Part that is divided by the rows of a batch.
        batch: Rows of a batch of training.
    """

    constant: float = 0.0
    total: float = 0.0
    batched: float = 0.0
    batch: int = 1

    def compute(self, rows: int) -> float:
        """Return the weight decay for a number of training rows."""
        return self.constant + self.total / rows + self.batched / min(rows, self.batch)


@dataclass(frozen=True, eq=False)
class FittedHead:
    """Affine layers with an activation between them, as scikit-learn fitted them.

    Attributes:
        layers: Weights [out in] and bias [out] of each layer; None without a bias.
        activation: Name of the function between layers, as scikit-learn has it.
        loss: Loss of a row; class weights are part of it.
        penalty: L2 penalty of the weights.
        classes: Labels in the order of the outputs; None for a regression.
        bias_scale: Factor s by which a bias is s times a penalised number; a large one stands for
            a bias without penalty.
        is_balanced: Whether classes are weighted by their number of rows.
        notes: Sentences on the fit, for its user.
    """

    layers: tuple[tuple[np.ndarray, np.ndarray | None], ...]
    loss: Loss
    penalty: FittedPenalty
    classes: tuple[str, ...] | None = None
    activation: str = "identity"
    bias_scale: float = 100.0
    is_balanced: bool = False
    notes: tuple[str, ...] = field(default=())


def read_head(estimator: Any) -> FittedHead:
    """Return the layers, loss and penalty of a fitted estimator of scikit-learn.

    Raises:
        InputError: The estimator, or one of its settings, has no loss with a known penalty.
    """
    name = type(estimator).__name__
    if name not in _READERS:
        remedy = "Use one of these as last step, or a torch module of your own."
        raise InputError(WHERE, ", ".join(_READERS), name, remedy)
    if not hasattr(estimator, "coef_") and not hasattr(estimator, "coefs_"):
        raise InputError(WHERE, "a fitted model", f"{name} without weights", "Fit it, then save.")
    return _READERS[name](estimator)


def _require(estimator: Any, setting: str, supported: tuple[object, ...], remedy: str) -> None:
    """Refuse a setting with which the loss or penalty is another one.

    Raises:
        InputError: It has another value.
    """
    value = getattr(estimator, setting, supported[0])
    if not any(value is option or value == option for option in supported):
        expected = f"{setting} = " + " or ".join(map(str, supported))
        raise InputError(WHERE, expected, f"{type(estimator).__name__}({setting}={value})", remedy)


def _read_logistic(estimator: Any) -> FittedHead:
    """Read LogisticRegression: C Σ L + ½‖w‖² is the mean loss with the penalty 1/(C n)."""
    remedy = "Only the L2 penalty, or none, has a second derivative; fit with it."
    _require(estimator, "penalty", ("l2", "deprecated", None), remedy)
    _require(estimator, "l1_ratio", (None, 0, 0.0), remedy)
    _require(estimator, "dual", (False,), "Fit with dual=False.")
    is_penalised = estimator.penalty is not None and np.isfinite(estimator.C)
    is_liblinear = estimator.solver == "liblinear"
    scale = float(estimator.intercept_scaling) if is_liblinear else 100.0
    penalty = FittedPenalty(total=1 / float(estimator.C) if is_penalised else 0.0)
    return _make_classifier(estimator, penalty, scale)


def _make_classifier(estimator: Any, penalty: FittedPenalty, scale: float) -> FittedHead:
    """Return the head of a linear classifier; two classes have the logits 0 and z."""
    classes = tuple(str(label) for label in estimator.classes_)
    weights = np.atleast_2d(estimator.coef_)
    bias = _read_bias(estimator, len(weights))
    weight = getattr(estimator, "class_weight", None)
    is_balanced = isinstance(weight, str)
    loss = CrossEntropy()
    if isinstance(weight, dict):
        loss = CrossEntropy(
            class_weights=tuple(float(weight.get(c, 1.0)) for c in estimator.classes_)
        )
    head = FittedHead(((weights, bias),), loss, penalty, classes, "identity", scale, is_balanced)
    return head


def _read_linear(estimator: Any) -> FittedHead:
    """Read LinearRegression, which has no penalty."""
    _require(estimator, "positive", (False,), "Weights at the bound 0 do not move; fit without.")
    return _make_regressor(estimator, FittedPenalty())


def _read_ridge(estimator: Any) -> FittedHead:
    """Read Ridge: Σ (y - f)² + α‖w‖² is the mean squared error with the penalty 2α/n."""
    _require(estimator, "positive", (False,), "Weights at the bound 0 do not move; fit without.")
    if np.ndim(estimator.alpha):
        raise InputError(WHERE, "one alpha", "one a target", "Fit a model for each target.")
    return _make_regressor(estimator, FittedPenalty(total=2 * float(estimator.alpha)))


def _make_regressor(estimator: Any, penalty: FittedPenalty) -> FittedHead:
    weights = np.atleast_2d(estimator.coef_)
    if len(weights) > 1:
        got = f"{len(weights)} targets"
        raise InputError(WHERE, "one number a row", got, "Fit a model for each target.")
    bias = _read_bias(estimator, 1)
    return FittedHead(((weights, bias),), SquaredError(), penalty)


def _read_bias(estimator: Any, outputs: int) -> np.ndarray | None:
    """Return the intercept of each output; None if it was not fitted."""
    if not estimator.fit_intercept:
        return None
    return np.broadcast_to(np.ravel(estimator.intercept_), outputs)


def _read_sgd_classifier(estimator: Any) -> FittedHead:
    """Read SGDClassifier of two classes: mean loss + α/2 ‖w‖²."""
    _require(estimator, "loss", ("log_loss",), "Its other losses are not supported.")
    _require(estimator, "penalty", ("l2", None), "Fit with the L2 penalty.")
    if len(estimator.classes_) > 2:
        remedy = "Several classes are fitted one against the rest; use LogisticRegression."
        raise InputError(
            WHERE, "two classes", f"SGDClassifier of {len(estimator.classes_)}", remedy
        )
    alpha = float(estimator.alpha) if estimator.penalty else 0.0
    head = _make_classifier(estimator, FittedPenalty(constant=alpha), 100.0)
    return _note_minimum(head, "SGDClassifier")


def _read_sgd_regressor(estimator: Any) -> FittedHead:
    """Read SGDRegressor: ½ mean squared error + α/2 ‖w‖², which is half of the penalty 2α."""
    _require(estimator, "loss", ("squared_error",), "Its other losses are not supported.")
    _require(estimator, "penalty", ("l2", None), "Fit with the L2 penalty.")
    alpha = float(estimator.alpha) if estimator.penalty else 0.0
    return _note_minimum(
        _make_regressor(estimator, FittedPenalty(constant=2 * alpha)), "SGDRegressor"
    )


def _read_mlp(estimator: Any) -> FittedHead:
    """Read an MLP: mean loss of a batch + α/2 ‖W‖² / rows of the batch; biases have no penalty."""
    layers = tuple(
        (np.asarray(weight).T, np.asarray(bias))
        for weight, bias in zip(estimator.coefs_, estimator.intercepts_, strict=True)
    )
    is_classifier = hasattr(estimator, "classes_")
    expected = ("softmax", "logistic") if is_classifier else ("identity",)
    remedy = "Several labels a row, or an activation of the output, are not supported."
    _require(estimator, "out_activation_", expected, remedy)
    if is_classifier and getattr(estimator._label_binarizer, "y_type_", "").startswith(
        "multilabel"
    ):
        raise InputError(WHERE, "one class a row", "several labels a row", remedy)
    _require(estimator, "loss", ("squared_error", "log_loss"), "Its other losses are not known.")
    if not is_classifier and len(layers[-1][0]) > 1:
        raise InputError(WHERE, "one number a row", "several", "Fit a model for each target.")
    factor = 1.0 if is_classifier else 2.0  # scikit-learn has ½ of the squared error
    batch = 200 if estimator.batch_size == "auto" else int(estimator.batch_size)
    batch = 2**62 if estimator.solver == "lbfgs" else batch
    penalty = FittedPenalty(batched=factor * float(estimator.alpha), batch=batch)
    classes = tuple(str(label) for label in estimator.classes_) if is_classifier else None
    loss = CrossEntropy() if is_classifier else SquaredError()
    head = FittedHead(layers, loss, penalty, classes, estimator.activation)
    return _note_minimum(head, type(estimator).__name__)


def _note_minimum(head: FittedHead, name: str) -> FittedHead:
    """Return a head with the note that its training may have stopped before a minimum."""
    note = f"{name} may have stopped before a minimum of its loss, from which effects start."
    return FittedHead(**{**vars(head), "notes": (note,)})


_READERS: dict[str, Callable[[Any], FittedHead]] = {
    "LogisticRegression": _read_logistic,
    "LinearRegression": _read_linear,
    "Ridge": _read_ridge,
    "SGDClassifier": _read_sgd_classifier,
    "SGDRegressor": _read_sgd_regressor,
    "MLPClassifier": _read_mlp,
    "MLPRegressor": _read_mlp,
}
