"""Explanation: prediction, helpful and harmful training rows and near neighbours of one query."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CONVENTION: Mapping[str, str] = {
    "effect": "removal_effect",
    "sign": "positive: the row is helpful, and without it the measure would become worse; "
    "negative: the row is harmful",
    "kind": "approximate: the inner product of the sketches of the query and of the row, divided "
    "by the number of training rows",
}
"""Name, sign and kind of the effects of every explanation."""


@dataclass(frozen=True)
class EffectRow:
    """Training row of an explanation.

    Attributes:
        position: Position in the training table.
        id: Id of the row.
        text: First text, or a description of the values.
        text_pair: Second text of a pair; None for single texts.
        label: Label of the row.
        effect: Removal effect in the unit of the measure; of a neighbour, None.
        cosine: Cosine of the sketches of query and row; None for a row chosen by its effect.
    """

    position: int
    id: str
    text: str
    text_pair: str | None
    label: str
    effect: float | None = None
    cosine: float | None = None


@dataclass(frozen=True)
class Explanation:
    """Explanation of one query.

    Attributes:
        text: First text of the query, or a description of its values.
        text_pair: Second text of a pair; None for single texts.
        label: Label given with the query; None without one.
        prediction: Predicted label; None if the model's outputs are not finite.
        probability: Probability of the predicted label.
        measure: Name of the measure that the effects are changes of.
        value: Value of the measure.
        unit: Unit of the measure and of the effects.
        meaning: Meaning of a positive effect, a sentence.
        helpful: Rows with the largest positive effects, descending.
        harmful: Rows with the largest negative effects, the most harmful first.
        neighbours: Rows with the most similar sketches, the nearest first.
        is_truncated: Whether the text exceeded the maximum length and was truncated.
        reason: Reason why there are no rows; None if there are.
    """

    text: str
    text_pair: str | None
    label: str | None
    prediction: str | None
    probability: float | None
    measure: str
    value: float | None
    unit: str
    meaning: str
    helpful: Sequence[EffectRow] = ()
    harmful: Sequence[EffectRow] = ()
    neighbours: Sequence[EffectRow] = ()
    is_truncated: bool = False
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the explanation for a response; the text of the query is not repeated."""
        return {
            "label": self.label,
            "prediction": self.prediction,
            "probability": self.probability,
            "measure": {
                "name": self.measure,
                "value": self.value,
                "unit": self.unit,
                "positive_effect": self.meaning,
            },
            "helpful": [_format_row(row) for row in self.helpful],
            "harmful": [_format_row(row) for row in self.harmful],
            "neighbours": [_format_row(row) for row in self.neighbours],
            "truncated": self.is_truncated,
            "reason": self.reason,
        }


def _format_row(row: EffectRow) -> dict[str, Any]:
    """Return a row for a response, without what it does not have."""
    return {name: value for name, value in vars(row).items() if value is not None}
