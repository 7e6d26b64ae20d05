"""The random samples that count wrong labels: which rows they stand for, and which came later."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from fastif.mislabels.random_audit import (
    FEWEST,
    GONE,
    UNCLEAR,
    Drawn,
)
from tasks.data.row_hashes import row_digest
from tasks.mislabels.annotations import Verdicts
from tasks.mislabels.stored_samples import Draw, Selected


@dataclass(frozen=True)
class RandomSample:
    """A random sample of rows with verdicts, and the rows that it was drawn from.

    Attributes:
        rows: the sample by row digest, rows that are gone too.
        wrong: whether the label of each was wrong.
        population: digests of the rows that it was drawn from.
        skipped: drawn rows without a verdict before the last that has one.
        gone: rows of the population that are not in the table as they were, nor have a verdict.
    """

    rows: Mapping[bytes, Selected]
    wrong: Mapping[bytes, bool]
    population: frozenset[bytes]
    skipped: int
    gone: int

    def drawn(
        self,
        digests: Sequence[bytes],
        contents: Sequence[bytes],
        labels: Sequence[str],
        given: Sequence[int],
        alike: Sequence[int],
    ) -> Drawn:
        """The sample by positions in the table.

        A wrong row whose text is still there was given another label, as verdicts are for. One
        whose text is gone may have been removed for its verdict, or with others that were not
        looked at; where no others are gone, for its verdict.

        Args:
            digests: of the table's rows.
            contents: digests of their texts.
            labels: the study's label names.
            given: label of each row, as a position in `labels`.
            alike: equal for rows that are one decision where they have one label.
        """
        place = {digest: i for i, digest in enumerate(digests)}
        number = {label: i for i, label in enumerate(labels)}
        there = set(contents)
        kept = [
            (row, of, place.get(row, GONE if of.content in there or not self.gone else UNCLEAR))
            for row, of in sorted(self.rows.items())
            if of.label in number
        ]
        key = list(zip(alike, given, strict=True))
        copies = Counter(key)
        return Drawn(
            torch.tensor([at for _, _, at in kept], dtype=torch.long),
            torch.tensor([number[of.label] for _, of, _ in kept], dtype=torch.long),
            torch.tensor([self.wrong[row] for row, _, _ in kept], dtype=torch.bool),
            torch.tensor([of.doubt for _, of, _ in kept], dtype=torch.float32),
            torch.tensor([digest in self.population for digest in digests], dtype=torch.bool),
            torch.tensor([copies[key[at]] if at >= 0 else 1 for _, _, at in kept]),
        )


def random_sample(verdicts: Verdicts, digests: Sequence[bytes]) -> RandomSample | None:
    """The samples since the draw that, with enough verdicts, stands for most of today's rows.

    Rows that were there at a draw were drawn from by it and by all later ones, so that together
    these are a random sample of them. An earlier start has more verdicts, and leaves out more of
    the rows that came in between.

    Args:
        verdicts: of the store.
        digests: of the table's rows.
    """
    samples = [_since(verdicts, start, digests) for start in range(len(verdicts.draws))]
    samples = [sample for sample in samples if sample.rows]
    if not samples:
        return None
    today = set(digests)
    return max(
        samples,
        key=lambda sample: (
            len(sample.rows) >= FEWEST,
            len(sample.population & today) if len(sample.rows) >= FEWEST else 0,
            len(sample.rows),
        ),
    )


def _since(verdicts: Verdicts, start: int, digests: Sequence[bytes]) -> RandomSample:
    draws: Sequence[Draw] = verdicts.draws[start:]
    population = draws[0].rows
    rows: dict[bytes, Selected] = {}
    skipped = 0
    for draw in draws:
        order = [row_digest(row.content, row.label) for row in draw.selected]
        known = [row in verdicts.settled and row in verdicts.drawn for row in order]
        last = max((place for place, has in enumerate(known) if has), default=-1)
        skipped += known[: last + 1].count(False)
        rows |= {
            row: of
            for row, of, has in zip(order, draw.selected, known, strict=True)
            if has and row in population
        }
    wrong = {row: verdicts.settled[row] != of.label for row, of in rows.items()}
    gone = population - set(digests) - verdicts.settled.keys() - verdicts.conflicts.keys()
    return RandomSample(rows, wrong, population, skipped, len(gone))
