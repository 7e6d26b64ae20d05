"""Scored queries: outputs, measures and hits of a batch, as explanations with the training rows."""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fastif.candidates.head_index import SketchHits
from fastif.losses.query_measure import QueryMeasure
from tasks.data.dataset import Table
from tasks.service.explanation import EffectRow, Explanation
from tasks.service.query_rows import QueryRows
from tasks.study.study import Study

NO_OUTPUTS = "the model's outputs are not finite"
NO_GRADIENT = "the gradient of the measure is zero or not finite"


@dataclass(frozen=True, eq=False)
class ScoredQueries:
    """Scored queries of a batch.

    Attributes:
        outputs: Outputs [q c] of the model.
        values: Values [q] of the measure.
        hits: Training rows of each query.
        sketches: Sketches [q d] of the gradients; zero for a gradient that is not finite.
    """

    outputs: Float[Tensor, "q c"]
    values: Float[Tensor, " q"]
    hits: SketchHits
    sketches: Float[Tensor, "q d"]


def make_explanation(
    study: Study,
    train: Table,
    rows: QueryRows,
    place: int,
    scored: ScoredQueries,
    position: int,
    measure: QueryMeasure,
) -> Explanation:
    """Return the explanation of one query.

    Args:
        study: Study with the names of the labels.
        train: Training rows.
        rows: Queries of the request.
        place: Position of the query in the request.
        scored: Scored queries of the batch.
        position: Position of the query in the batch.
        measure: Measure that the effects are changes of.
    """
    outputs, label, pairs = scored.outputs[position], rows.labels[place], rows.table.text_pairs
    explanation = Explanation(
        text=rows.table.texts[place],
        text_pair=None if pairs is None else pairs[place],
        label=None if label is None else study.labels[label],
        prediction=None,
        probability=None,
        measure=measure.name,
        value=None,
        unit=measure.unit,
        meaning=measure.meaning,
        reason=NO_OUTPUTS,
    )
    if not bool(outputs.isfinite().all()):
        return explanation
    value = float(scored.values[position])
    changes: dict[str, object] = {
        "prediction": study.labels[int(outputs.argmax())],
        "probability": float(outputs.softmax(0).max()),
        "value": value if math.isfinite(value) else None,
        "reason": NO_GRADIENT,
    }
    if bool((scored.sketches[position] != 0).any()):
        changes |= {"reason": None, **_list_rows(study, train, scored.hits, position)}
    return Explanation(**(vars(explanation) | changes))  # type: ignore[arg-type]


def _list_rows(
    study: Study, train: Table, hits: SketchHits, position: int
) -> dict[str, list[EffectRow]]:
    """Return helpful, harmful and near rows of a query."""
    effects = (hits.products[position].double() / len(train)).tolist()
    ids = hits.ids[position].tolist()
    ascending = [
        _make_row(study, train, row, effect=effect)
        for row, effect in zip(ids, effects, strict=True)
    ]
    cosines = zip(hits.near[position].tolist(), hits.cosines[position].tolist(), strict=True)
    return {
        "helpful": [row for row in reversed(ascending) if (row.effect or 0) > 0][: hits.k],
        "harmful": [row for row in ascending if (row.effect or 0) < 0][: hits.k],
        "neighbours": [_make_row(study, train, row, cosine=cosine) for row, cosine in cosines],
    }


def _make_row(
    study: Study,
    train: Table,
    position: int,
    effect: float | None = None,
    cosine: float | None = None,
) -> EffectRow:
    pair = None if train.text_pairs is None else train.text_pairs[position]
    return EffectRow(
        position,
        train.ids[position],
        train.texts[position],
        pair,
        study.labels[train.labels[position]],
        effect,
        cosine,
    )
