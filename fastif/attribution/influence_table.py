"""Influences as a table: display in a notebook, data frames of other libraries, and a figure."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from importlib import import_module
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from fastif.errors import InputError

SHOWN_QUERIES, SHOWN_ROWS, SHOWN_CHARACTERS = 10, 5, 200
"""Queries, rows at each end of a query, and characters of a text that are displayed."""
PLOTTED_QUERIES = 6
"""Number of queries in a figure."""
HARMFUL, HELPFUL = "#c2410c", "#0369a1"
"""Colours of negative and of positive effects, those of the report page."""
CELL = "text-align:left;vertical-align:top;white-space:normal"
NUMBERS = ("removal_effect", "spread", "ranking_score", "distance")
"""Columns of numbers, in their order."""


class TabularResult(ABC):
    """Result that displays itself as a table of training examples by query."""

    @abstractmethod
    def as_table(self) -> "InfluenceTable":
        """Return the table."""

    def with_texts(
        self, train: Sequence[str], queries: Sequence[str] | None = None
    ) -> "InfluenceTable":
        """Return the table with the texts of the examples.

        Args:
            train: Text of each training example, by position.
            queries: Text of each query, in the order of the result; None for none.

        Raises:
            InputError: There are fewer texts than examples.
        """
        table = replace(self.as_table(), train_texts=train, query_texts=queries)
        table.check_texts()
        return table

    def to_polars(self) -> Any:
        """Return a data frame of Polars with one row for each scored pair.

        Raises:
            InputError: Polars is not installed.
        """
        return _load_package("polars").DataFrame(self.as_table().collect_columns())

    def to_pandas(self) -> Any:
        """Return a data frame of pandas with one row for each scored pair.

        Raises:
            InputError: pandas is not installed.
        """
        return _load_package("pandas").DataFrame(self.as_table().collect_columns())

    def plot(self) -> Any:
        """Return a bar chart of Altair with the strongest effects on the first queries.

        Raises:
            InputError: Altair is not installed, or there are no effects.
        """
        return self.as_table().draw_chart()

    def _repr_html_(self) -> str:
        return self.as_table().render_html()


@dataclass(frozen=True, eq=False)
class InfluenceTable(TabularResult):
    """Table of the scored training examples of each query.

    Attributes:
        ids: Positions [q k] in the training set, the most harmful first; -1 for an empty cell.
        removal_effect: Removal effects [q k] in nats; negative = harmful, positive = helpful.
        spread: Standard deviation [q k] over models; None for one model.
        ranking_score: Score [q k] by which the examples are ordered; None for the effect.
        distance: Distances [q k] in the candidate index; None in a full scan.
        train_texts: Text of each training example, by position; None for none.
        query_texts: Text of each query; None for none.
        note: Sentence below the display; empty for none.
    """

    ids: Int[Tensor, "q k"]
    removal_effect: Float[Tensor, "q k"]
    spread: Float[Tensor, "q k"] | None = None
    ranking_score: Float[Tensor, "q k"] | None = None
    distance: Float[Tensor, "q k"] | None = None
    train_texts: Sequence[str] | None = None
    query_texts: Sequence[str] | None = None
    note: str = ""

    def as_table(self) -> "InfluenceTable":
        return self

    def check_texts(self) -> None:
        """Refuse texts of other examples.

        Raises:
            InputError: There are fewer training texts than positions, or another number of
                queries.
        """
        needed = int(self.ids.max()) + 1 if self.ids.numel() else 0
        counts = [("train", self.train_texts, f"{needed} texts or more", lambda n: n >= needed)]
        queries = len(self.ids)
        counts += [("queries", self.query_texts, f"{queries} texts", lambda n: n == queries)]
        for where, texts, expected, is_enough in counts:
            if texts is not None and not is_enough(len(texts)):
                raise InputError(
                    where, expected, f"{len(texts)}", "Give the texts of the attributed examples."
                )

    def collect_columns(self) -> dict[str, list[Any]]:
        """Return the columns of the table, without empty cells and without empty columns."""
        numbers = [name for name in NUMBERS if getattr(self, name) is not None]
        names = ["query", "train", "rank", *numbers]
        names += ["train_text"] if self.train_texts is not None else []
        names += ["query_text"] if self.query_texts is not None else []
        columns: dict[str, list[Any]] = {name: [] for name in names}
        for query in range(len(self.ids)):
            for row in self._list_rows(query):
                for name in names:
                    columns[name].append(row[name])
        return columns

    def render_html(self) -> str:
        """Render the first queries, each with its most harmful and most helpful examples."""
        shown = min(SHOWN_QUERIES, len(self.ids))
        parts = [self._render_query(query) for query in range(shown)]
        rest = len(self.ids) - shown
        parts += [f"<p>{rest} more queries in <code>to_polars()</code>.</p>"] if rest else []
        legend = "Effects are in nats: below 0 the example harms the query."
        parts.append(f"<p>{legend} {escape(self.note)}</p>")
        return f"<div>{''.join(parts)}</div>"

    def draw_chart(self) -> Any:
        """Draw the strongest effects on the first queries, a panel for each."""
        alt = _load_package("altair")
        values = [
            {
                "query": self._name_query(query),
                "train": f"{row['train']}",
                "effect": row["removal_effect"],
                "text": row.get("train_text") or "",
            }
            for query in range(min(PLOTTED_QUERIES, len(self.ids)))
            for row in _take_ends(list(self._list_rows(query)))
        ]
        if not values:
            raise InputError("plot", "a query with effects", "none", "Attribute a query first.")
        chart = alt.Chart(alt.Data(values=values)).mark_bar()
        encoded = chart.encode(
            x=alt.X("effect:Q", title="removal effect, nats"),
            y=alt.Y("train:N", title="training example", sort=alt.SortField("effect")),
            color=alt.condition("datum.effect < 0", alt.value(HARMFUL), alt.value(HELPFUL)),
            tooltip=["train:N", "effect:Q", "text:N"],
        )
        panels = encoded.facet(alt.Facet("query:N", title=None, sort=None), columns=2)
        return panels.resolve_scale(y="independent")

    def _list_rows(self, query: int) -> Iterator[dict[str, Any]]:
        """Yield the scored examples of a query, the most harmful first."""
        numbers = [name for name in NUMBERS if getattr(self, name) is not None]
        columns = {name: getattr(self, name)[query].tolist() for name in numbers}
        for rank, train in enumerate(self.ids[query].tolist()):
            if train < 0:
                continue
            row = {"query": query, "train": train, "rank": rank}
            row |= {name: values[rank] for name, values in columns.items()}
            if self.train_texts is not None:
                row["train_text"] = self.train_texts[train]
            if self.query_texts is not None:
                row["query_text"] = self.query_texts[query]
            yield row

    def _name_query(self, query: int) -> str:
        text = "" if self.query_texts is None else f": {_shorten(self.query_texts[query])}"
        return f"query {query}{text}"

    def _render_query(self, query: int) -> str:
        rows = list(self._list_rows(query))
        names = [name for name in NUMBERS if getattr(self, name) is not None]
        texts = ["train_text"] if self.train_texts is not None else []
        head = "".join(_render_cell(name, "th") for name in (*names, "train", *texts))
        body = "".join(
            "<tr>"
            + "".join(_render_cell(f"{row[name]:+.4g}", "td", row[name]) for name in names)
            + "".join(_render_cell(f"{row[name]}", "td") for name in ("train", *texts))
            + "</tr>"
            for row in _take_ends(rows)
        )
        table = f"<table><tr>{head}</tr>{body}</table>" if rows else "<p>no effects</p>"
        more = f", {len(rows)} examples" if len(rows) > 2 * SHOWN_ROWS else ""
        return f"<p><b>{escape(self._name_query(query))}</b>{more}</p>{table}"


def _take_ends(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first and the last rows."""
    is_short = len(rows) <= 2 * SHOWN_ROWS
    return rows if is_short else [*rows[:SHOWN_ROWS], *rows[-SHOWN_ROWS:]]


def _render_cell(text: str, tag: str, number: float | None = None) -> str:
    colour = "" if number is None else f";color:{HARMFUL if number < 0 else HELPFUL}"
    return f'<{tag} style="{CELL}{colour}">{escape(_shorten(text))}</{tag}>'


def _shorten(text: str) -> str:
    clean = "".join(character if character.isprintable() else " " for character in text)
    return clean if len(clean) <= SHOWN_CHARACTERS else f"{clean[:SHOWN_CHARACTERS]} ..."


def _load_package(name: str) -> Any:
    """Import a package that the mathematics does not need.

    Raises:
        InputError: It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(
            f"package {name}", "an installed package", f"{error}", f"Run `pip install {name}`."
        ) from error
