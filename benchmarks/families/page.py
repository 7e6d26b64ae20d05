"""Page docs/reference/families.md, written from the results of all families."""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
import transformers

from benchmarks.families.examine import ATTRIBUTED, Verdict
from benchmarks.families.methods import METHODS

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


METHODS_HEAD = """
## Methods

Results of `last:1` (of all parameters for families that refuse it) in single precision, on the same
rows. Effects by the exact dual solver and by sketches of full rank are compared with those of plain
autograd on each row alone and the inverse of the damped Gauss-Newton matrix; the trace of EK-FAC
with that of this matrix; features of `fastif mislabels` in a padded batch with those of each text.
{count} of {total} families have been run; `python -m benchmarks.families FAMILY` adds another.

| family | {methods} |
| --- |{columns}
"""


def page(verdicts: Sequence[Verdict]) -> str:
    """Return the page, one row a family."""
    by_family: dict[str, dict[str, Verdict]] = {}
    for verdict in verdicts:
        by_family.setdefault(verdict.family, {})[verdict.attributed] = verdict
    tested = {f: v for f, v in by_family.items() if ATTRIBUTED[0] in v}
    lines = [_line(family, family_verdicts) for family, family_verdicts in tested.items()]
    head = HEAD.format(
        transformers=transformers.__version__,
        torch=torch.__version__.partition("+")[0],
        counts=_counts(by_family),
    )
    return head + "\n".join(lines) + "\n" + _methods(by_family)


def _methods(by_family: Mapping[str, Mapping[str, Verdict]]) -> str:
    """Return the table of methods, one row for each family that has been run."""
    run = {family: verdicts for family, verdicts in by_family.items() if METHODS[0] in verdicts}
    head = METHODS_HEAD.format(
        count=len(run),
        total=len(by_family),
        methods=" | ".join(METHODS),
        columns=" --- |" * len(METHODS),
    )
    lines = []
    for family, verdicts in run.items():
        cells = (_cell(verdicts[method]) for method in METHODS)
        lines.append(f"| {family} | {' | '.join(cells)} |\n")
    return head + "".join(lines)


def _cell(verdict: Verdict) -> str:
    why = verdict.why.replace("|", "/")
    return f"{verdict.word}: {why}" if why else verdict.word


def _counts(by_family: dict[str, dict[str, Verdict]]) -> str:
    parts = []
    for attributed in ATTRIBUTED:
        count = Counter(family_verdicts[attributed].word for family_verdicts in by_family.values())
        counts = ", ".join(f"{number} {word}" for word, number in count.most_common())
        parts.append(f"`{attributed}` {counts}")
    return "; ".join(parts)


def _line(family: str, verdicts: dict[str, Verdict]) -> str:
    words = " | ".join(verdicts[attributed].word for attributed in ATTRIBUTED)
    tested = (verdicts[attributed] for attributed in ATTRIBUTED)
    whys = (v.why.replace("|", "/").split("; ") for v in tested if v.why)
    notes = list(dict.fromkeys(note for why in whys for note in why))
    return f"| {family} | {words} | {'; '.join(notes)} |"
