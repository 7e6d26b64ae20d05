"""The random samples that count wrong labels: which rows they stand for, and which came later."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import torch

from fastif.mislabels.random_audit import (
    MIN_AUDITED,
    REMOVED_ROW,
    UNCLEAR,
    AuditedRows,
)
from tasks.data.row_hashes import row_digest
from tasks.mislabels.merged_annotations import Annotations
from tasks.mislabels.stored_samples import SampledRow, StoredSample


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

    rows: Mapping[bytes, SampledRow]
    wrong: Mapping[bytes, bool]
    population: frozenset[bytes]
    skipped: int
    gone: int

    def locate_rows(
        self,
        digests: Sequence[bytes],
        contents: Sequence[bytes],
        labels: Sequence[str],
        given: Sequence[int],
        groups: Sequence[int],
    ) -> AuditedRows:
        """The sample by positions in the table.

        A wrong row whose text is still there was given another label, as verdicts are for. One
        whose text is gone may have been removed for its verdict, or with others that were not
        looked at; where no others are gone, for its verdict.

        Args:
            digests: of the table's rows.
            contents: digests of their texts.
            labels: the study's label names.
            given: label of each row, as a position in `labels`.
            groups: equal for rows that are one decision where they have one label.
        """
        positions = {digest: i for i, digest in enumerate(digests)}
        class_ids = {label: i for i, label in enumerate(labels)}
        present = set(contents)
        sampled = [item for item in sorted(self.rows.items()) if item[1].label in class_ids]
        located = [
            positions[row] if row in positions else self._mark_missing(sampled_row, present)
            for row, sampled_row in sampled
        ]
        decision_keys = list(zip(groups, given, strict=True))
        copies = Counter(decision_keys)
        return AuditedRows(
            torch.tensor(located, dtype=torch.long),
            torch.tensor([class_ids[row.label] for _, row in sampled], dtype=torch.long),
            torch.tensor([self.wrong[row] for row, _ in sampled], dtype=torch.bool),
            torch.tensor([row.prior_error for _, row in sampled], dtype=torch.float32),
            torch.tensor([digest in self.population for digest in digests], dtype=torch.bool),
            torch.tensor([copies[decision_keys[i]] if i >= 0 else 1 for i in located]),
        )

    def _mark_missing(self, row: SampledRow, present: Set[bytes]) -> int:
        """What stands for the position of a row that is not in the table as it was."""
        return REMOVED_ROW if row.content in present or not self.gone else UNCLEAR


def select_random_sample(annotations: Annotations, digests: Sequence[bytes]) -> RandomSample | None:
    """The samples since the draw that, with enough verdicts, stands for most of today's rows.

    Rows that were there at a draw were drawn from by it and by all later ones, so that together
    these are a random sample of them. An earlier start has more verdicts, and leaves out more of
    the rows that came in between.

    Args:
        annotations: of the store.
        digests: of the table's rows.
    """
    samples = [
        _pool_samples(annotations, start, digests) for start in range(len(annotations.samples))
    ]
    samples = [sample for sample in samples if sample.rows]
    if not samples:
        return None
    current = set(digests)
    return max(
        samples,
        key=lambda sample: (
            len(sample.rows) >= MIN_AUDITED,
            len(sample.population & current) if len(sample.rows) >= MIN_AUDITED else 0,
            len(sample.rows),
        ),
    )


def _pool_samples(annotations: Annotations, start: int, digests: Sequence[bytes]) -> RandomSample:
    samples: Sequence[StoredSample] = annotations.samples[start:]
    population = samples[0].population_digests
    rows: dict[bytes, SampledRow] = {}
    skipped = 0
    for sample in samples:
        sample_digests = [row_digest(row.content, row.label) for row in sample.selected]
        is_known = [
            row in annotations.agreed and row in annotations.audited for row in sample_digests
        ]
        last = max(
            (index for index, has_annotation in enumerate(is_known) if has_annotation), default=-1
        )
        skipped += is_known[: last + 1].count(False)
        rows |= {
            row: sampled_row
            for row, sampled_row, has_annotation in zip(
                sample_digests, sample.selected, is_known, strict=True
            )
            if has_annotation and row in population
        }
    wrong = {row: annotations.agreed[row] != sampled_row.label for row, sampled_row in rows.items()}
    gone = population - set(digests) - annotations.agreed.keys() - annotations.conflicts.keys()
    return RandomSample(rows, wrong, population, skipped, len(gone))
