"""Bulk mislabel detection: from the training table to a ranked table in the store."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from prefect import task
from prefect.cache_policies import NO_CACHE
from scipy.sparse import csr_matrix
from torch import Tensor

from fastif.mislabels.detector import COUNTED, Detector
from fastif.mislabels.feature_views import Views
from fastif.mislabels.features import joined, tabular
from fastif.mislabels.injected_flips import recall_of
from fastif.mislabels.knn import neighbours
from fastif.mislabels.label_posterior import Suspicions
from fastif.mislabels.labeled_data import (
    DROPPED,
    UNSEEN,
    Rows,
    Trusted,
)
from fastif.mislabels.second_round_check import INNER
from storage import MISLABELS, Store, StoreError, fingerprint, polars_schema, write_table
from tasks.data.dataset import Table
from tasks.data.near_duplicates import alike_rows, same_rows
from tasks.data.row_hashes import content_digests, row_digests
from tasks.mislabels.annotations import Verdicts, read_verdicts
from tasks.mislabels.cross_fitted_classifier import judge_mark, judged_by
from tasks.mislabels.facts import search_facts
from tasks.mislabels.head_cache import KeptHeads
from tasks.mislabels.label_words import none_word
from tasks.mislabels.random_sample import random_sample
from tasks.mislabels.results import (
    FACTS,
    KIND,
    next_search,
    note_asked,
)
from tasks.mislabels.text_features import Encoder, encoder_of, views_of
from tasks.models.locate import encoder_folder
from tasks.models.training_dynamics import dynamics_mark, dynamics_of
from tasks.run.spec import (
    Inputs,
    existing_store,
    read_inputs,
    store_path,
)
from tasks.runtime.progress import bar
from tasks.runtime.retries import passing_faults

PROCEDURE = 9
"""Raised when the procedure comes to say something else."""
DETECTOR = Detector()
NOT_JUDGED = -1.0
"""In place of a probability: after all rows that have one."""
CANARIES = 2
"""Draws of them, each judged anew."""
MOST_HEADS = 2 * DETECTOR.folds * (DETECTOR.repeats + CANARIES + INNER) + 1 + CANARIES
"""That a search fits: to labels and to beliefs, and to tell whether the latter pays."""


@dataclass(frozen=True)
class Search:
    """What is looked for: a study's rows, what reads them, and what people have said of them.

    Attributes:
        inputs: study and tables.
        encoder: of the texts; None where rows are no texts.
        seen: whether its weights may have seen the labels.
        verdicts: of the store.
    """

    inputs: Inputs
    encoder: Encoder | None
    seen: bool
    verdicts: Verdicts

    @property
    def trusted(self) -> bool:
        """Whether the queries' labels are certain."""
        return self.inputs.study.queries.trusted

    @cached_property
    def digest(self) -> str:
        """Of everything that the answer depends on; not of the order of the rows."""
        study = self.inputs.study
        queries = sorted(row.hex() for row in row_digests(self.inputs.queries, study.labels))
        return fingerprint(
            {
                "procedure": PROCEDURE,
                "detector": DETECTOR.numbers,
                "encoder": self.encoder.kind if self.encoder else "as they are",
                "train": self.inputs.train.digest,
                "rows": len(self.inputs.train),
                "queries": queries if self.trusted else [],
                "labels": list(study.labels),
                "budget": study.mislabels.budget,
                "judge": judge_mark(self.inputs),
                "dynamics": dynamics_mark(study),
                "verdicts": self.verdicts.digest,
            }
        )


def search_of(path: Path) -> Search:
    """What a study asks to be searched. Reads every input, computes and writes nothing.

    Raises:
        StudyError, InputError: something is wrong with the study, a table or the encoder.
    """
    inputs = read_inputs(path)
    encoder, seen = None, False
    if inputs.train.measured is None:
        folder, seen = encoder_folder(inputs.study)
        encoder = encoder_of(folder, inputs.study)
    verdicts = read_verdicts(store_if_any(inputs), inputs.train, inputs.study.labels)
    return Search(inputs, encoder, seen, verdicts)


def store_if_any(inputs: Inputs) -> Store | None:
    """The study's store, if it was begun."""
    try:
        return existing_store(inputs.study)
    except StoreError:
        return None


@task(name="find-mislabels", cache_policy=NO_CACHE, retries=2, retry_condition_fn=passing_faults)
def find_mislabels(path: str) -> str:
    """Rank the training rows by the probability that their label is wrong; the part's digest."""
    search = search_of(Path(path))
    study = search.inputs.study
    store = Store.open(store_path(study), study.name)
    if store.part(KIND, search.digest) is not None:
        note_asked(store, search.digest)
    else:
        start = time.monotonic()
        table, facts = _searched(store, search)
        facts |= {"seconds": time.monotonic() - start, "number": next_search(store)}

        def write(folder: Path) -> None:
            write_table(folder, KIND, table)
            (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")

        store.write_part(KIND, search.digest, write)
    return search.digest


def _searched(store: Store, search: Search) -> tuple[pl.DataFrame, dict[str, Any]]:
    inputs, study = search.inputs, search.inputs.study
    # In the order of their contents: answers do not depend on that of the table, to the last digit.
    digests = row_digests(inputs.train, study.labels)
    order = torch.tensor(sorted(range(len(digests)), key=lambda i: (digests[i], i)))
    tables = [inputs.train.take(order.tolist())]
    tables += [inputs.queries] if search.trusted else []
    views = views_in(store, search, tables)
    mix = _mix_of(search, views, tables)
    features, *others = views.mixed(mix).split([len(table) for table in tables])
    words = _terms_of(views, tables)
    del views  # memory that the heads need
    near = neighbours(features, DETECTOR.neighbours)
    ordered = [digests[i] for i in order.tolist()]
    sample, contents = random_sample(search.verdicts, ordered), content_digests(tables[0])
    alike = alike_rows(tables[0], near)
    rows = Rows(
        features,
        torch.tensor(tables[0].labels),
        len(study.labels),
        alike,
        _known(search, ordered, tables[0]),
        judged_by(store, search.inputs, tables[0], alike),
        words[0],
        sample and sample.drawn(ordered, contents, study.labels, tables[0].labels, alike.tolist()),
    )
    trusted = None
    if others:
        sure = torch.tensor(inputs.queries.labels)
        trusted = Trusted(others[0], sure, len(study.labels), words[1])
    budget = min(study.mislabels.budget, len(rows.labels))
    with bar("labels: heads fitted", MOST_HEADS) as advance:
        heads = KeptHeads(store, search.digest, advance)
        detector = replace(DETECTOR, fit=heads)
        found = detector(rows, trusted, near)
        recall = recall_of(detector, rows, found, budget)
    heads.forget()
    harm = _harm(store, inputs)
    frame = _frame(inputs, rows, found, order, harm)
    facts = search_facts(search, rows, found, recall, frame, sample)
    return frame, facts | {"procedure": PROCEDURE, "mix": mix}


def views_in(store: Store, search: Search, tables: Sequence[Table]) -> Views:
    """Views of the rows of some tables, one table after the other."""
    if search.encoder is not None:
        return views_of(store, search.encoder, search.inputs.study, tables)
    parts = [table.measured for table in tables if table.measured is not None]
    # In double precision: large numbers, such as times, may differ by little.
    numbers = torch.from_numpy(np.concatenate([part.numbers for part in parts]))
    if parts[0].image:
        features = joined([numbers.float()])
    else:
        columns = zip(*(part.kinds for part in parts), strict=True)
        features = tabular(numbers, [list(chain(*column)) for column in columns])
    return Views((features,), ((1.0,),))


def _terms_of(views: Views, tables: Sequence[Table]) -> list[tuple[csr_matrix, ...]]:
    """Of each table its own."""
    ends = list(accumulate((len(table) for table in tables), initial=0))
    return [
        tuple(csr_matrix(terms[start:end]) for terms in views.terms)
        for start, end in pairwise(ends)
    ]


def _mix_of(search: Search, views: Views, tables: Sequence[Table]) -> tuple[float, ...]:
    """That which tells most of the labels: of trusted ones where there are some."""
    rows, classes = sum(map(len, tables)), len(search.inputs.study.labels)
    asked = tables[-1] if search.trusted else tables[0]
    ids = torch.arange(rows)[-len(asked) :] if search.trusted else torch.arange(len(asked))
    together = None if search.trusted else same_rows(asked)
    return views.most_telling(ids, torch.tensor(asked.labels), classes, together)


def _decisions(rows: Rows, suggested: Tensor) -> Tensor:
    """Equal for rows that are alike, with the same label and the same suggestion."""
    several = torch.stack([rows.together, rows.labels, suggested], 1)
    return several.unique(dim=0, return_inverse=True)[1]


def _known(search: Search, digests: Sequence[bytes], table: Table) -> Tensor:
    """Right labels by verdicts; `table` has the rows in the order of `digests`."""
    labels = search.inputs.study.labels
    number: dict[str | None, int] = {label: i for i, label in enumerate(labels)} | {None: DROPPED}
    names = (labels[label] for label in table.labels)
    rows = zip(digests, content_digests(table), names, strict=True)
    known = (search.verdicts.right_of(*row) for row in rows)
    return torch.tensor([number[right] if has else UNSEEN for has, right in known])


def _harm(store: Store, inputs: Inputs) -> pl.DataFrame | None:
    """Of each training row, from the newest finished audit of the same rows; None without one."""
    for status in store.runs():
        if status.finished and status.record.parts.get("train") == inputs.train.digest:
            run = status.record.run
            harm = store.scan("scores", run).filter(pl.col("removal_effect") < 0)
            train = store.scan("train", run).select("train", own="label")
            asked = store.scan("queries", run).select("query", "label")
            named = harm.join(train, on="train").join(asked, on="query")
            effect = -pl.col("removal_effect").cast(pl.Float64)
            same = pl.col("own") == pl.col("label")
            return (
                named.group_by("train")
                .agg(harm=effect.sum(), harm_same_label=effect.filter(same).sum())
                .sort("train")
                .collect()
            )
    return None


def _frame(
    inputs: Inputs,
    rows: Rows,
    found: Suspicions,
    order: Tensor,
    harm: pl.DataFrame | None,
) -> pl.DataFrame:
    """The table, in the order of the training rows."""
    table, labels = inputs.train, inputs.study.labels
    back = order.argsort()
    known = rows.known if rows.known is not None else torch.full_like(rows.labels, UNSEEN)
    names = {UNSEEN: None, DROPPED: none_word(labels)} | dict(enumerate(labels))
    near = _nearest(rows, found.near, order)
    probability = found.probability.float()
    alone = only_of_class(rows, inputs.queries.labels if found.trusted else ())
    columns: dict[str, Any] = {
        "train": range(len(table)),
        "rank": _ranks(probability.where(~alone, NOT_JUDGED), known)[back].tolist(),
        "id": table.ids,
        "text": table.texts,
        "text_pair": table.text_pairs or [None] * len(table),
        "label": [labels[i] for i in table.labels],
        "probability": _or_null(probability, alone)[back].tolist(),
        "doubt": _or_null(found.doubt, alone)[back].tolist(),
        "suggested": [labels[i] for i in found.suggested[back].tolist()],
        "confidence": found.confidence[back].clamp(0, 1).tolist(),
        "cluster": _decisions(rows, found.suggested)[back].tolist(),
        "agreeing": [near[0][i] for i in back.tolist()],
        "conflicting": [near[1][i] for i in back.tolist()],
        "reviewed": [names[i] for i in known[back].tolist()],
        "trained_margin": [
            None if margin is None else -margin for margin in dynamics_of(inputs.study, table)
        ],
        **{name: signal[back].tolist() for name, signal in found.signals.items()},
    }
    for name in (*COUNTED, "judged_loss", "trusted_loss"):
        columns.setdefault(name, [None] * len(table))
    schema = polars_schema(MISLABELS)
    frame = pl.DataFrame(columns, schema_overrides={"train": pl.UInt32, "text_pair": pl.String})
    frame = frame.with_columns(pl.col("probability", "doubt").fill_nan(None))
    if harm is None:
        frame = frame.with_columns(harm=pl.lit(None), harm_same_label=pl.lit(None))
    else:
        moved = harm.with_columns(pl.col("train").cast(pl.UInt32))
        frame = frame.join(moved, on="train", how="left", maintain_order="left").with_columns(
            pl.col("harm", "harm_same_label").fill_null(0.0)
        )
    return frame.select(pl.col(name).cast(kind) for name, kind in schema.items())


def only_of_class(rows: Rows, trusted: Sequence[int]) -> Tensor:
    """Which rows are the only one of their class, with rows like them: nobody can judge these.

    Whoever judges a row has not seen it, nor what is like it, and so has seen none of the class.

    Args:
        rows: to be judged.
        trusted: labels of the rows of certain label.
    """
    if rows.judged is not None:  # by a classifier that knows the class from elsewhere
        return torch.zeros_like(rows.labels, dtype=torch.bool)
    known = rows.known if rows.known is not None else torch.full_like(rows.labels, UNSEEN)
    learned = torch.where(known == UNSEEN, rows.labels, known)
    pairs = torch.stack([learned, rows.together], 1)[learned != DROPPED]
    single = pairs.unique(dim=0)[:, 0].bincount(minlength=rows.classes) == 1
    single[torch.tensor(trusted, dtype=torch.long)] = False
    return single[rows.labels] & (known == UNSEEN)


def _or_null(values: Tensor, missing: Tensor) -> Tensor:
    """With NaN for what is missing, which is null in the table."""
    return values.where(~missing, math.nan)


def _ranks(probability: Tensor, known: Tensor) -> Tensor:
    """0 for the most suspicious; rows that were looked at last, rows that are alike in order."""
    asked = torch.where(known == UNSEEN, probability, -2.0)
    ranks = torch.empty(len(asked), dtype=torch.long)
    ranks[asked.argsort(descending=True, stable=True)] = torch.arange(len(asked))
    return ranks


def _nearest(rows: Rows, near: Tensor, order: Tensor) -> tuple[list[int | None], list[int | None]]:
    """Of each row the nearest with its label, and the nearest with another, as table positions."""
    same = rows.labels[near] == rows.labels[:, None]
    found = []
    for wanted in (same, ~same):
        first = wanted.int().argmax(1)
        place = order[near.gather(1, first[:, None])[:, 0]].tolist()
        there = wanted.any(1).tolist()
        found.append([where if yes else None for where, yes in zip(place, there, strict=True)])
    return found[0], found[1]
