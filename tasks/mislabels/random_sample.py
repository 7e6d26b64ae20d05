"""Random audit samples with annotations: selection, population, and rows added or removed since."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from fastif.mislabels.audit_sample import (
    MIN_AUDITED,
    NO_UNIT,
    RIGHT,
    UNKNOWN,
    WRONG,
    AuditedRows,
    AuditSample,
)
from tasks.mislabels.group_counts import PREFIX
from tasks.mislabels.merged_annotations import Annotations
from tasks.mislabels.stored_samples import StoredSample


@dataclass(frozen=True, eq=False)
class RandomSample:
    """Random audit samples with annotations, and the population of the first one.

    Attributes:
        samples: Stored samples, the oldest first.
        lengths: Number of rows of each sample up to the last one with an agreed annotation.
        agreed: Right label by row digest, of rows on which all reviewers agree.
        gone: Number of population rows that were changed or removed without an annotation.
    """

    samples: tuple[StoredSample, ...]
    lengths: tuple[int, ...]
    agreed: Mapping[bytes, str | None]
    gone: int

    @property
    def population(self) -> Mapping[bytes, int]:
        """Row digests that the first sample was taken from, with the position of each."""
        return self.samples[0].population_digests

    @cached_property
    def rows(self) -> tuple[bytes, ...]:
        """Digests of sampled rows of the population with an agreed annotation."""
        return tuple(row for row in self._drawn if row in self.agreed)

    @property
    def skipped(self) -> int:
        """Number of sampled rows before the last annotated one without an agreed annotation."""
        return len(self._drawn) - len(self.rows)

    @cached_property
    def _drawn(self) -> tuple[bytes, ...]:
        drawn = (
            row
            for sample, length in zip(self.samples, self.lengths, strict=True)
            for row in list(sample.sampled_rows)[:length]
        )
        return tuple(row for row in dict.fromkeys(drawn) if row in self.population)

    def locate_rows(
        self, digests: Sequence[bytes], contents: Sequence[bytes], labels: Sequence[str]
    ) -> AuditedRows:
        """Return the samples by positions in the table.

        A row with an annotation whose text is still in the table was relabelled. If its text is
        missing too, the row may have been removed because of its annotation, or together with rows
        without one; if no such row is missing, because of its annotation.

        Args:
            digests: Digest of each row of the table.
            contents: Digest of the texts of each row.
            labels: Label names of the study.
        """
        frame, units = self.samples[0].population, self.population
        class_ids = {label: i for i, label in enumerate(labels)}
        present, current = set(contents), set(digests)
        given = frame["label"].to_list()
        verdicts = [self._compare(row, label) for row, label in zip(units, given, strict=True)]
        unclear = [
            self.gone > 0 and row not in current and content not in present
            for row, content in zip(units, frame["content"], strict=True)
        ]
        return AuditedRows(
            tuple(
                _locate_sample(sample, length, units)
                for sample, length in zip(self.samples, self.lengths, strict=True)
            ),
            torch.tensor([class_ids.get(label, -1) for label in given]),
            torch.tensor(verdicts),
            _to_tensor(frame["copies"].to_numpy()).long(),
            torch.tensor([units.get(row, NO_UNIT) for row in digests]),
            torch.tensor(unclear),
        )

    def list_group_values(self, name: str) -> list[str | None] | None:
        """Return the value of a group column of each unit; None if it was not recorded."""
        frame, column = self.samples[0].population, f"{PREFIX}{name}"
        return frame[column].to_list() if column in frame.columns else None

    def _compare(self, row: bytes, label: str) -> int:
        if row not in self.agreed:
            return UNKNOWN
        return RIGHT if self.agreed[row] == label else WRONG


def select_random_sample(annotations: Annotations, digests: Sequence[bytes]) -> RandomSample | None:
    """Select the random audit samples that count: those since the start that covers most rows.

    A sample covers its population, and later samples cover it as well, so that together they are a
    random sample of it. An earlier start has more annotations, but covers fewer of the rows added
    since.

    Args:
        annotations: Merged annotations of the store.
        digests: Digest of each row of the table.
    """
    current = set(digests)
    samples = [
        _pool_samples(annotations, start, current) for start in range(len(annotations.samples))
    ]
    samples = [sample for sample in samples if sample.rows]
    if not samples:
        return None
    return max(
        samples,
        key=lambda sample: (
            len(sample.rows) >= MIN_AUDITED,
            len(sample.population.keys() & current) if len(sample.rows) >= MIN_AUDITED else 0,
            len(sample.rows),
        ),
    )


def _pool_samples(annotations: Annotations, start: int, current: set[bytes]) -> RandomSample:
    samples, lengths = annotations.samples[start:], []
    for sample in samples:
        answered = [
            place
            for place, row in enumerate(sample.sampled_rows, 1)
            if row in annotations.agreed and row in annotations.audited
        ]
        lengths.append(max(answered, default=0))
    gone = samples[0].population_digests.keys() - current
    gone -= annotations.agreed.keys() | annotations.conflicts.keys()
    return RandomSample(tuple(samples), tuple(lengths), annotations.agreed, len(gone))


def _locate_sample(sample: StoredSample, length: int, units: Mapping[bytes, int]) -> AuditSample:
    frame = sample.population
    places = [units.get(row, NO_UNIT) for row in sample.population_digests]
    is_inside = torch.tensor([place != NO_UNIT for place in places], dtype=torch.bool)
    columns = {
        name: _to_tensor(frame[name].to_numpy())[is_inside]
        for name in ("copies", "stratum", "size", "doubt")
    }
    drawn = [units[row] for row in list(sample.sampled_rows)[:length] if row in units]
    return AuditSample(
        torch.tensor(places)[is_inside],
        columns["copies"].long(),
        columns["stratum"].long(),
        columns["size"],
        columns["doubt"].float(),
        torch.tensor(drawn, dtype=torch.long),
        len(sample.sampled_rows),
    )


def _to_tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float64))
