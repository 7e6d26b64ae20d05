"""docs/reference/families.md, from verdicts."""

from collections import Counter
from collections.abc import Sequence

import torch
import transformers

from benchmarks.families.examine import ATTRIBUTED, Verdict

HEAD = """# Families of sequence classifiers

Every family that transformers {transformers} has a sequence classifier of, with tiny random
weights in double precision (torch {torch}): {counts}.
`python -m benchmarks.families` does it again.

Six rows of 3 to 13 tokens, padded, one, four and six at once, as tokens and from the cache of
hidden states, against the model itself run on each row alone without padding; and the gradient of
each example against plain autograd on that row. `last:1` is cut where that is exact.

| word | means |
| --- | --- |
| exact | losses and gradients are those of the row alone; frozen layers are run once |
| uncut only | the same, but frozen layers are run each time |
| refused | an audit refuses the model, with this reason |
| not tried | no tiny model of this family could be made here |

| family | `last:1` | `all` | notes |
| --- | --- | --- | --- |
"""


def page(verdicts: Sequence[Verdict]) -> str:
    """The page: a line a family."""
    by_family: dict[str, dict[str, Verdict]] = {}
    for verdict in verdicts:
        by_family.setdefault(verdict.family, {})[verdict.attributed] = verdict
    lines = [_line(family, family_verdicts) for family, family_verdicts in by_family.items()]
    head = HEAD.format(
        transformers=transformers.__version__,
        torch=torch.__version__.partition("+")[0],
        counts=_counts(by_family),
    )
    return head + "\n".join(lines) + "\n"


def _counts(by_family: dict[str, dict[str, Verdict]]) -> str:
    parts = []
    for attributed in ATTRIBUTED:
        count = Counter(family_verdicts[attributed].word for family_verdicts in by_family.values())
        counts = ", ".join(f"{number} {word}" for word, number in count.most_common())
        parts.append(f"`{attributed}` {counts}")
    return "; ".join(parts)


def _line(family: str, verdicts: dict[str, Verdict]) -> str:
    words = " | ".join(verdicts[attributed].word for attributed in ATTRIBUTED)
    whys = (v.why.replace("|", "/").split("; ") for v in verdicts.values() if v.why)
    notes = list(dict.fromkeys(note for why in whys for note in why))
    return f"| {family} | {words} | {'; '.join(notes)} |"
