"""Evidence of a run of boosted trees: leaf values repeated from the rows, and the library's scores.

A run has it in the column `solver` of the table `runs`, next to the method.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tasks.results.evidence import Row

UNCOMPARED = "not compared: each tree was fitted to a sample of the rows, which is not known"


@dataclass(frozen=True)
class TreeEvidence:
    """Comparisons made before the effects of a run were computed.

    Attributes:
        deviation: Largest difference of a repeated leaf value, relative to the largest; None if
            not compared.
        difference: Largest difference from the library's own scores; None if not compared.
        notes: Sentences on the training.
    """

    deviation: float | None
    difference: float | None
    notes: tuple[str, ...]

    @property
    def repeated(self) -> str:
        """Deviation of the leaf values in words."""
        if self.deviation is None:
            return UNCOMPARED
        return f"differ by {self.deviation:.1e} of the largest at most"


def read_tree_evidence(facts: Row | Mapping[str, object]) -> TreeEvidence | None:
    """Read the evidence from a row of the table `runs`; None for other models."""
    settings = facts["solver"] if facts else None  # empty in stores of early versions
    record = json.loads(str(settings)).get("trees") if settings else None
    if record is None:
        return None
    return TreeEvidence(record["deviation"], record["difference"], tuple(record["notes"]))


def describe_trees(facts: Row) -> Iterator[tuple[str, str]]:
    """Yield label and text of the evidence; nothing for other models."""
    evidence = read_tree_evidence(facts)
    if evidence is None:
        return
    yield "leaf values repeated", evidence.repeated
    if evidence.difference is not None:
        yield "scores of the library", f"differ by {evidence.difference:.1e} at most"
    for note in evidence.notes:
        yield "trees", note
