"""Predictions of an external classifier: labels, scores or class logits that came with the rows."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.errors import InputError

NO_PREDICTION = -1
"""Value of `ExternalClassifier.predicted` for a row without a prediction."""


@dataclass(frozen=True, eq=False)
class ExternalClassifier:
    """Predictions of a classifier that is not fitted here, such as a language model or a rule.

    Exactly one of `predicted` and `outputs` is given.

    Attributes:
        name: Name of the classifier.
        predicted: Predicted class of each row, or `NO_PREDICTION`, [n].
        outputs: Class logits [n, c], or one score a row [n, 1]; NaN for a row without a
            prediction. Scale, direction and class frequencies are calibrated.

    Raises:
        InputError: Both or neither are given, or an output is infinite or missing in a part of its
            row.

    Examples:
        >>> import torch
        >>> classifier = ExternalClassifier("rule", predicted=torch.tensor([0, 1, -1]))
        >>> classifier.has_prediction.tolist()
        [True, True, False]
    """

    name: str
    predicted: Int[Tensor, " n"] | None = None
    outputs: Float[Tensor, "n d"] | None = None

    def __post_init__(self) -> None:
        if (self.predicted is None) == (self.outputs is None):
            raise self._make_error(
                "labels or outputs", "both or neither", "Give one of predicted and outputs."
            )
        if self.outputs is None:
            return
        is_missing = self.outputs.isnan()
        if bool(self.outputs.isinf().any()) or bool((is_missing.any(1) & ~is_missing.all(1)).any()):
            raise self._make_error(
                "finite outputs, or NaN in a whole row",
                "infinity, or NaN in a part of a row",
                "Correct these rows.",
            )

    @property
    def has_prediction(self) -> Bool[Tensor, " n"]:
        """Mask of the rows with a prediction, [n]."""
        if self.predicted is not None:
            return self.predicted >= 0
        assert self.outputs is not None
        return ~self.outputs.isnan().any(1)

    @property
    def predicted_classes(self) -> Int[Tensor, " n"] | None:
        """Predicted class of each row, any without a prediction, [n]; None for a score."""
        if self.predicted is not None:
            return self.predicted
        assert self.outputs is not None
        is_score = self.outputs.shape[1] == 1
        return None if is_score else self.outputs.nan_to_num(0.0).argmax(1)

    def check_rows(self, rows: int, classes: int) -> None:
        """Refuse predictions of another number of rows or classes.

        Args:
            rows: Number of rows n.
            classes: Number of classes c.

        Raises:
            InputError: The number of rows, the width of `outputs` or a class does not fit.
        """
        values = self.predicted if self.outputs is None else self.outputs
        assert values is not None
        fits = len(values) == rows and (
            int(values.max()) < classes
            if self.outputs is None
            else self.outputs.shape[1] in (1, classes)
        )
        if not fits:
            expected = f"predictions of {rows} rows and {classes} classes, or scores"
            got = f"predictions of shape {tuple(values.shape)}"
            if values.dim() == 1:
                got += f", up to class {int(values.max())}"
            raise self._make_error(expected, got, "Give the predictions of these rows.")

    def select(self, mask: Bool[Tensor, " n"]) -> "ExternalClassifier":
        """Return the predictions of the rows of a mask."""
        predicted = None if self.predicted is None else self.predicted[mask]
        return ExternalClassifier(
            self.name, predicted, None if self.outputs is None else self.outputs[mask]
        )

    def _make_error(self, expected: str, got: str, remedy: str) -> InputError:
        return InputError(f"external classifier {self.name}", expected, got, remedy)


@dataclass(frozen=True)
class ClassifierTrust:
    """Estimated reliability of an external classifier.

    Attributes:
        name: Name of the classifier.
        rows: Number of rows with a prediction.
        agreement: Share of these rows in which it predicts the given label.
        accuracy: Expected share of these rows in which it predicts the true class, by the label
            posterior.
        pseudo_r2: Share of the entropy of the true classes that it explains alone, in [0, 1].
        copying: Estimated probability λ that it follows the given label where this is wrong, in
            [0, 1]; near 1 for a classifier that was trained on these labels.
        weight: Exponent a of its likelihood ratio, in [0, 1]: 1 for errors that are independent of
            the other evidence, 0 for a classifier that adds nothing.
        rising: Class that a higher score makes more probable; None for other outputs.
        falling: Class that a higher score makes less probable; None for other outputs.
        label_slope: Log-odds of a right label by unit of a score of the given label, whose
            `agreement` is the share of rows in which it is in favour of the label; None else.
    """

    name: str
    rows: int
    agreement: float
    accuracy: float
    pseudo_r2: float
    copying: float
    weight: float
    rising: int | None = None
    falling: int | None = None
    label_slope: float | None = None
