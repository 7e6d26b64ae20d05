"""Random audit samples with annotations: selection, population, and rows added or removed since."""

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
    """Random audit sample of rows with annotations, and its population.

    Attributes:
        rows: Sampled rows by row digest, including rows that were removed from the table.
        wrong: Whether the label of each sampled row was wrong.
        population: Digests of the rows that were sampled from.
        skipped: Number of sampled rows without an annotation before the last one with one.
        gone: Number of population rows that were changed or removed without an annotation.
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
        """Return the sample by positions in the table.

        A wrong row whose text is still in the table was relabelled. If its text is missing too, the
        row may have been removed because of its annotation, or with unreviewed rows; without any
        missing unreviewed rows, because of its annotation.

        Args:
            digests: Digest of each row of the table.
            contents: Digest of the texts of each row.
            labels: Label names of the study.
            given: Given label of each row, as a position in `labels`.
            groups: Group of each row; near-duplicates with one label share an annotation.
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
        """Code of a sampled row that is not in the table with its text and label."""
        return REMOVED_ROW if row.content in present or not self.gone else UNCLEAR


def select_random_sample(annotations: Annotations, digests: Sequence[bytes]) -> RandomSample | None:
    """Select the random audit samples that count: those since the start that covers most rows.

    A sample covers its population, and later samples cover it as well, so that together they are a
    random sample of it. An earlier start has more annotations, but covers fewer of the rows added
    since.

    Args:
        annotations: Merged annotations of the store.
        digests: Digest of each row of the table.
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
