"""Engine: explains single predictions by the inner products of stored gradient sketches."""

import copy
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

import fastif
from fastif.candidates import GradientSketcher
from fastif.candidates.head_index import HeadIndex
from fastif.data.examples import Batch, LabeledExamples
from fastif.losses.query_measure import LOG_PROBABILITY, LOSS, QUERY_MEASURES, QueryMeasure
from fastif.numerics.arithmetic import upcast_half
from tasks.data.dataset import Table
from tasks.models.loaded_model import LoadedModel
from tasks.service.explanation import Explanation
from tasks.service.memory_forecast import MemoryForecast
from tasks.service.query_rows import QueryRows, read_query_rows
from tasks.service.scored_queries import ScoredQueries, make_explanation
from tasks.service.trust import Trust
from tasks.study.errors import join_some
from tasks.study.study import Study

BATCH_ROWS = 16
"""Number of queries whose gradients are in memory at once."""
AUTO = "auto"
"""Name of the measure that is the loss where a label is given, else the log probability."""


@dataclass(frozen=True)
class Wish:
    """Numbers of rows and measure that a caller wants for every query.

    Attributes:
        k: Number of most helpful and of most harmful rows.
        neighbours: Number of near neighbours.
        measure: Name of the measure, or `AUTO`.

    Raises:
        InputError: There is no such measure, or a number is below its minimum.
    """

    k: int = 5
    neighbours: int = 3
    measure: str = AUTO

    def __post_init__(self) -> None:
        names = [AUTO, *QUERY_MEASURES]
        if self.measure not in names:
            raise fastif.InputError(
                "measure", f"one of {join_some(names)}", "another name", "Use one of these names."
            )
        for name, least in (("k", 1), ("neighbours", 0)):
            if getattr(self, name) < least:
                raise fastif.InputError(
                    name, f"{least} or more", f"{getattr(self, name)}", f"Raise {name}."
                )


@dataclass(frozen=True, eq=False)
class Engine:
    """Explains queries without the gradient of any training row.

        removal_effect ≈ 1/n sketch(query)ᵀ sketch(row)

    with the sketches of an audit, as in `fastif.attribution.sketch_scores`. One query takes a
    forward and a backward pass of the model and one search. Threads take turns.

    Attributes:
        study: Study of the model.
        model: Model with its way to read a table.
        sketcher: Sketcher of the training rows.
        index: Search of the sketches.
        train: Training rows.
        trust: Measured accuracy of the effects.
        memory: Memory that the engine needs.
    """

    study: Study
    model: LoadedModel
    sketcher: GradientSketcher
    index: HeadIndex
    train: Table
    trust: Trust
    memory: MemoryForecast
    _gradients: dict[str, fastif.Gradients] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read_rows(
        self, rows: Sequence[Mapping[str, Any]], max_characters: int | None = None
    ) -> QueryRows:
        """Check rows with the study's columns, see `read_query_rows`."""
        return read_query_rows(self.study, rows, max_characters, self.train.measurements)

    def explain(self, rows: QueryRows, wish: Wish = Wish()) -> list[Explanation]:
        """Explain queries, in their order.

        Raises:
            InputError: The measure needs labels that are not given, or a text has no token.
        """
        if wish.measure == LOSS.name and None in rows.labels:
            raise fastif.InputError(
                "measure",
                "a label for every query with the loss",
                f"none for {rows.labels.count(None)} of {len(rows)}",
                f"Give labels, or use {LOG_PROBABILITY.name}.",
            )
        with self._lock:
            explanations = []
            for places in torch.arange(len(rows)).split(BATCH_ROWS):
                explanations += self._explain_batch(rows.take(places.tolist()), wish)
            return explanations

    def compute_sketches(
        self, examples: LabeledExamples, ids: Int[Tensor, " q"], measure: QueryMeasure = LOSS
    ) -> Float[Tensor, "q d"]:
        """Sketches [q d] of the gradients of a measure at the labels of the examples."""
        sketches = torch.empty(len(ids), self.sketcher.dimensions)
        for places, batch in examples.batches(ids):
            prepared = self.model.objective.compute_prefix(batch)
            sketches[places] = self._sketch(prepared, measure)
        return sketches

    def _explain_batch(self, rows: QueryRows, wish: Wish) -> list[Explanation]:
        examples = self.model.encode(rows.table)
        if self.model.objective.padding_side is None:
            examples = examples.with_equal_lengths()
        explanations: dict[int, Explanation] = {}
        for places, batch in examples.batches(size=BATCH_ROWS):
            prepared = self.model.objective.compute_prefix(batch)
            names = [self._name_measure(rows, place, wish) for place in places.tolist()]
            for name in dict.fromkeys(names):
                chosen = torch.tensor([position for position, n in enumerate(names) if n == name])
                part = {key: tensor[chosen] for key, tensor in prepared.items()}
                part_places = places[chosen].tolist()
                answers = self._explain_part(rows, part_places, part, QUERY_MEASURES[name], wish)
                explanations |= dict(zip(part_places, answers, strict=True))
        truncated = examples.truncated.tolist()
        return [
            replace(explanations[place], is_truncated=truncated[place])
            for place in range(len(rows))
        ]

    def _name_measure(self, rows: QueryRows, place: int, wish: Wish) -> str:
        if wish.measure != AUTO:
            return wish.measure
        return LOG_PROBABILITY.name if rows.labels[place] is None else LOSS.name

    def _explain_part(
        self,
        rows: QueryRows,
        places: Sequence[int],
        batch: Batch,
        measure: QueryMeasure,
        wish: Wish,
    ) -> list[Explanation]:
        """Explain the queries of a batch, all by one measure."""
        objective = self._get_gradients(measure).objective
        with torch.no_grad():
            outputs = upcast_half(objective.outputs(objective.params, batch))
        if not measure.needs_label:
            batch = {**batch, "labels": outputs.argmax(1).to(batch["labels"])}
        values = measure.factor * objective.query_measure(outputs, batch["labels"])
        sketches = self._sketch(batch, measure)
        scored = ScoredQueries(
            outputs, values, self.index.search(sketches, wish.k, wish.neighbours), sketches
        )
        return [
            make_explanation(self.study, self.train, rows, place, scored, position, measure)
            for position, place in enumerate(places)
        ]

    def _sketch(self, batch: Batch, measure: QueryMeasure) -> Float[Tensor, "q d"]:
        return self.sketcher(self._get_gradients(measure), batch, "measures").float().cpu()

    def _get_gradients(self, measure: QueryMeasure) -> fastif.Gradients:
        """Return the gradients of a measure, other than that of the study's queries or not."""
        if measure.name not in self._gradients:
            objective = copy.copy(self.model.objective)
            objective.measure = measure.function
            self._gradients[measure.name] = fastif.Gradients(objective)
        return self._gradients[measure.name]
