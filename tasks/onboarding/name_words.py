"""Words of column names, and how well they fit a role."""

import re
from collections.abc import Mapping

_WORD = re.compile(r"[^\W\d_]+|\d+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def split_name(name: str) -> tuple[str, ...]:
    """Split a column name into words in lower case, and numbers.

    >>> split_name("Customer Message"), split_name("sentence1"), split_name("pairId")
    (('customer', 'message'), ('sentence', '1'), ('pair', 'id'))
    """
    return tuple(word.casefold() for word in _WORD.findall(_CAMEL.sub(" ", name)))


def score_name(name: str, weights: Mapping[str, float]) -> float:
    """Return the weight of a name: full for one known word alone, half for one among others.

    The last word counts most, since it is the noun: a `message label` is a label.

    >>> score_name("label", {"label": 2.0}), score_name("gold label", {"label": 2.0})
    (2.0, 1.5)
    """
    words = [word for word in split_name(name) if not word.isdigit()]
    known = [word for word in words if word in weights]
    if not known:
        return 0.0
    if len(words) == 1:
        return weights[words[0]]
    share = 0.75 if words[-1] in weights else 0.4
    return share * weights[words[-1] if words[-1] in weights else known[0]]
