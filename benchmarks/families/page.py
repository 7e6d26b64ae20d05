"""Page docs/reference/families.md, written from the results of all families."""

from collections import Counter
from collections.abc import Sequence

import torch
import transformers

from benchmarks.families.examine import ATTRIBUTED, Verdict

HEAD = """# Families of sequence classifiers

All families with a sequence classifier in transformers {transformers}, tested with tiny random
weights in double precision (torch {torch}): {counts}.
`python -m benchmarks.families` repeats the test.

Six rows of 3 to 13 tokens, padded, in batches of one, four and six, from tokens and from the cache
of hidden states, are compared with the model on each row alone without padding. The gradient of
each example is compared with plain autograd on that row. With `last:1` the frozen layers are cached
where that is exact.

| result | meaning |
| --- | --- |
| exact | losses and gradients equal those of the row alone; frozen layers are run once |
| uncut only | losses and gradients equal those of the row alone; frozen layers are run each time |
| refused | an audit refuses the model, with this reason |
| not tried | no tiny model of this family could be built |

| family | `last:1` | `all` | notes |
| --- | --- | --- | --- |
"""


def page(verdicts: Sequence[Verdict]) -> str:
    """Return the page, one row a family."""
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
