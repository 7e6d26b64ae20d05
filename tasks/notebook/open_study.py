"""Study opened for lookups in a Python session; `fastif.open` calls it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from fastif import InputError
from tasks.notebook.conversions import convert_table
from tasks.notebook.explanations import Explanations
from tasks.notebook.torch_defaults import use_torch_defaults
from tasks.runtime.foreign_errors import wrap_library_errors
from tasks.service.engine import AUTO, Engine, Wish
from tasks.service.open_engine import open_engine
from tasks.service.query_rows import list_columns, name_texts
from tasks.service.trust import Trust


@dataclass(frozen=True, eq=False, repr=False)
class OpenStudy:
    """Study whose single predictions can be explained while you wait.

    Attributes:
        engine: Model, sketches and training rows of the study.
    """

    engine: Engine

    @property
    def trust(self) -> Trust:
        """Measured accuracy of the effects."""
        return self.engine.trust

    @use_torch_defaults()
    @wrap_library_errors
    def explain(
        self,
        queries: Any,
        label: Any = None,
        *,
        k: int = 5,
        neighbours: int = 3,
        measure: str = AUTO,
    ) -> Explanations:
        """Explain predictions: the training rows that help and harm them most.

        Args:
            queries: A text, or a list of texts; for a study of pairs a tuple of two texts, or a
                list of them. Or rows with the study's columns: a dict, a list of dicts or a data
                frame.
            label: Label of the text, or a list with the label of each; None if there is none. With
                a label the effects are changes of the loss at it, else of the log probability of
                the predicted label.
            k: Number of most helpful, and of most harmful rows.
            neighbours: Number of near neighbours.
            measure: Name of the measure that effects are changes of, such as "margin".

        Raises:
            InputError, StudyError: A query or an argument cannot be used.
        """
        rows = self.engine.read_rows(_name_queries(self.engine, queries, label))
        explained = self.engine.explain(rows, Wish(k, neighbours, measure))
        return Explanations(explained, self.engine.trust)

    def __repr__(self) -> str:
        trust = self.engine.trust
        return (
            f"study {self.engine.study.name}, run {trust.run}: {trust.train_rows:,} training rows"
        )


@use_torch_defaults()
@wrap_library_errors
def open_study(study: str | PathLike[str]) -> OpenStudy:
    """Open a study for lookups; see `fastif.open`.

    Raises:
        InputError, StudyError, StoreError: The study cannot be used, or has no sketches.
    """
    return OpenStudy(open_engine(Path(study).expanduser()))


def _name_queries(engine: Engine, queries: Any, label: Any) -> Sequence[Mapping[str, Any]]:
    """Return the queries as rows with the study's columns.

    Raises:
        InputError: They are of no accepted form, or there are none.
    """
    if isinstance(queries, str | tuple):
        queries, label = [queries], None if label is None else [label]
    if isinstance(queries, list) and queries and isinstance(queries[0], str | tuple | list):
        return name_texts(engine.study, queries, label)
    if label is not None:
        raise InputError("label", "labels of texts", "rows", "Put the label into the rows.")
    if isinstance(queries, Mapping):
        queries = [queries]
    if not isinstance(queries, list):
        queries = convert_table(queries, "queries").frame.to_dicts()
    if not queries:
        raise InputError("queries", "a text or more", "none", "Give a text.")
    return [
        _drop_other_columns(engine, row) if isinstance(row, Mapping) else row for row in queries
    ]


def _drop_other_columns(engine: Engine, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a row that are read; a data frame has others too."""
    columns = list_columns(engine.study)
    return {name: value for name, value in row.items() if name in columns}
