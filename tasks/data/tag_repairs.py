"""Check of the tags of a table against the scheme of the study's labels, and their repair."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastif.errors import InputError
from fastif.tokens import RepairedTags, Scheme, repair_tags
from fastif.tokens.tag_scheme import MAX_REPAIRED_SHARE, OUTSIDE, PREFIXES
from tasks.data.target_text import UNTAGGED
from tasks.study.errors import format_value, join_some

MAX_REPAIRS = 3
"""Number of repairs that a note lists."""
Row = tuple[int, ...]
"""Position of the tag of each word of a sentence."""


@dataclass(frozen=True)
class RepairedTargets:
    """Tags of all sentences that follow their scheme.

    Attributes:
        rows: Positions of the tags of each sentence; None without.
        notes: Sentences on the scheme and the repairs.
        problems: Expectation, place and remedy of repairs that need other tags than the labels.
    """

    rows: Sequence[Row | None]
    notes: tuple[str, ...] = ()
    problems: tuple[tuple[str, str, str], ...] = ()


def list_schemes(labels: Sequence[str]) -> list[Scheme]:
    """List the schemes that tags may have; none where they are of several.

    Examples:
        >>> list_schemes(["O", "B-PER", "I-PER"])
        ['BIO', 'IOB1']
        >>> list_schemes(["NOUN", "VERB"])
        ['words']
    """
    prefixes = {_find_prefix(label) for label in labels if label != OUTSIDE}
    if prefixes <= {""}:
        return ["words"]
    suitable: list[Scheme] = [
        scheme for scheme, known in PREFIXES.items() if known and prefixes <= set(known)
    ]
    if "IO" in suitable:
        return ["IO"]
    plain: list[Scheme] = [scheme for scheme in suitable if scheme in ("BIO", "IOB1")]
    return plain or suitable


def _find_prefix(tag: str) -> str:
    """Return the prefix of a tag in any scheme; empty without one."""
    prefix, dash, kind = tag.partition("-")
    is_prefix = len(prefix) == 1 and prefix in "BILUES" and (bool(kind) or not dash)
    return prefix if is_prefix else ""


def find_scheme(rows: Sequence[Row | None], labels: Sequence[str]) -> Scheme | None:
    """Return the scheme that needs the fewest repairs; None if too many tags break it.

    Args:
        rows: Positions of the tags of each sentence.
        labels: Tags of the study.
    """
    suitable = list_schemes(labels)
    if len(suitable) == 1 and suitable[0] in ("words", "IO"):
        return suitable[0]
    best, tagged = None, 0
    fewest = float("inf")
    for scheme in suitable:
        repaired = [_repair(row, labels, scheme) for row in rows if row and UNTAGGED not in row]
        count = sum(len(row.repairs) for row in repaired)
        tagged = sum(tag != OUTSIDE for row in repaired for tag in row.tags)
        if count < fewest:
            best, fewest = scheme, count
    return best if fewest <= MAX_REPAIRED_SHARE * max(tagged, 1) else None


def _repair(row: Row, labels: Sequence[str], scheme: Scheme) -> RepairedTags:
    return repair_tags([labels[tag] for tag in row], scheme)


def repair_targets(
    rows: Sequence[Row | None], labels: Sequence[str], numbers: Sequence[int]
) -> RepairedTargets:
    """Repair the tags of each sentence that break the scheme, which is detected.

    Sentences with words without a tag stay as they are.

    Args:
        rows: Positions of the tags of each sentence.
        labels: Tags of the study.
        numbers: Number of each row, for notes.
    """
    try:
        scheme = find_scheme(rows, labels)
    except InputError:  # a tag of another form
        scheme = None
    if scheme is None:
        note = "the tags follow no scheme of spans closely, and are used as they are"
        return RepairedTargets(rows, (note,))
    positions = {label: place for place, label in enumerate(labels)}
    fixed, repairs, unknown = [], [], {}
    for number, row in zip(numbers, rows, strict=True):
        result = None if row is None or UNTAGGED in row else _repair(row, labels, scheme)
        if result is None or not result.repairs:
            fixed.append(row)
            continue
        unknown |= {tag: number for tag in result.tags if tag not in positions}
        repairs += [f"row {number}, {repair}" for repair in result.repairs]
        fixed.append(tuple(positions.get(tag, UNTAGGED) for tag in result.tags))
    if unknown:
        expected = f"tags that follow the scheme {scheme}, or whose repair is among the labels"
        places = [f"row {number}: {format_value(tag)}" for tag, number in unknown.items()]
        return RepairedTargets(rows, (), ((expected, join_some(places), "correct these rows"),))
    if not repairs:
        return RepairedTargets(rows)
    note = (
        f"{len(repairs):,} tags that break the scheme {scheme} are repaired, in training and "
        f"effects alike: {join_some(repairs, MAX_REPAIRS)}"
    )
    return RepairedTargets(fixed, (note,))
