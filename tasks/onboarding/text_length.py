"""Maximum length of the texts: 99 % of them fit, bounded by the model's positions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHARE = 0.99
"""Share of the texts that are not truncated."""
SAMPLED_ROWS = 2000
"""Number of rows of each table whose tokens are counted."""
STEP = 8
"""Lengths are rounded up to a multiple of this number."""
MIN_LENGTH = 16


@dataclass(frozen=True)
class TextLength:
    """Maximum length of the texts of a study.

    Attributes:
        tokens: Number of tokens.
        truncated: Share of the sampled texts that are longer.
        bound: Limit of model and tokenizer if it is the reason; None otherwise.
    """

    tokens: int
    truncated: float
    bound: int | None = None

    def __str__(self) -> str:
        share = f"{100 * self.truncated:.1f} % of the texts are truncated"
        if not self.truncated:
            share = "no sampled text is longer"
        return f"tokens; {share}" + (f"; the model reads {self.bound}" if self.bound else "")


def choose_length(counts: Sequence[int] | np.ndarray, longest: int | None) -> TextLength:
    """Choose the length that holds 99 % of the texts.

    Args:
        counts: Number of tokens of each sampled text.
        longest: Largest number of tokens that model and tokenizer allow; None without a limit.

    >>> choose_length([10] * 99 + [100], 512).tokens, choose_length([900] * 9, 512)
    (16, TextLength(tokens=512, truncated=1.0, bound=512))
    """
    counts = np.asarray(counts)
    needed = int(np.quantile(counts, SHARE, method="inverted_cdf"))
    tokens = max(-(-needed // STEP) * STEP, MIN_LENGTH)
    if longest is not None:
        tokens = min(tokens, longest)
    is_bound = longest is not None and needed > longest
    return TextLength(tokens, float((counts > tokens).mean()), longest if is_bound else None)
