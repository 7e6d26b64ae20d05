"""Windows of texts that are longer than the encoder: consecutive parts, embedded one by one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import fastif
from fastif.data.examples import Examples
from fastif.mislabels.text_embeddings import mean_pool

MAX_WINDOWS = 16
"""Maximum number of windows of a text; the rest of it is cut off."""


@dataclass(frozen=True, eq=False)
class TextWindows:
    """Tokenized texts in windows of at most the maximum length.

    Attributes:
        windows: Windows of all texts, in order.
        counts: Number of windows of each text.
        tokens: Token ids of each text, without the special tokens of its later windows.
        cut: Whether a part of the text is in no window.
    """

    windows: fastif.TextExamples
    counts: Sequence[int]
    tokens: Sequence[Tensor]
    cut: Sequence[bool]

    def is_long(self, text: int) -> bool:
        """Whether a text has several windows."""
        return self.counts[text] > 1

    def describe(self, max_tokens: int) -> Iterator[str]:
        """Yield notes on texts in several windows, and on texts that are cut off."""
        long, cut = sum(count > 1 for count in self.counts), sum(self.cut)
        if long:
            yield (
                f"{long:,} of {len(self.counts):,} texts are longer than {max_tokens} tokens: they "
                "are embedded in windows, whose mean is used"
            )
        if cut:
            yield (
                f"{cut:,} of {len(self.counts):,} texts are used up to their first "
                f"{max(self.counts) * max_tokens:,} tokens"
            )

    def embed(self, model: PreTrainedModel, windows: Examples, texts: Sequence[int]) -> Tensor:
        """Embed texts: mean over their windows, weighted by the number of tokens.

        Args:
            model: Text encoder.
            windows: `windows`, or the same with progress.
            texts: Positions of the texts.

        Returns:
            Embeddings, [m, 2, d].
        """
        starts = list(accumulate(self.counts, initial=0))
        ids = torch.tensor([i for t in texts for i in range(starts[t], starts[t + 1])])
        embeddings = mean_pool(model, windows, ids)
        if len(ids) == len(texts):
            return embeddings
        owners = torch.repeat_interleave(torch.tensor([self.counts[t] for t in texts]))
        weights = self.windows.lengths[ids].to(embeddings)
        total = torch.zeros(len(texts)).index_add_(0, owners, weights)
        shares = (weights / total[owners])[:, None, None]
        joined = embeddings.new_zeros(len(texts), *embeddings.shape[1:])
        return joined.index_add_(0, owners, shares * embeddings)


def split_windows(
    tokenizer: PreTrainedTokenizerBase,
    examples: fastif.TextExamples,
    texts: Sequence[str],
    size: int,
) -> TextWindows:
    """Split truncated texts into consecutive windows, each with the special tokens.

    Args:
        tokenizer: Tokenizer of the encoder; one without offsets (a slow one) cuts texts off.
        examples: Truncated tokens of the texts.
        texts: The texts.
        size: Maximum number of tokens of a window, including special tokens.
    """
    rows, tokens, counts, cut = [], [], [], []
    for text, row, is_truncated in zip(texts, examples.tokens, examples.truncated, strict=True):
        parts, whole, is_cut = [row], row, bool(is_truncated)
        if is_truncated and tokenizer.is_fast:
            parts, whole, is_cut = _split_text(tokenizer, text, size)
        rows += parts
        tokens.append(whole)
        counts.append(len(parts))
        cut.append(is_cut)
    segments = None if examples.segments is None else [torch.zeros_like(row) for row in rows]
    labels, truncated = torch.zeros(len(rows)).long(), torch.zeros(len(rows)).bool()
    windows = fastif.TextExamples(
        rows, segments, labels, truncated, examples.padding, examples.device,
        examples.batch_tokens, "left" if examples.side == "left" else "right", examples.batch_size,
    )  # fmt: skip
    return TextWindows(windows, counts, tokens, cut)


def _split_text(
    tokenizer: PreTrainedTokenizerBase, text: str, size: int
) -> tuple[list[Tensor], Tensor, bool]:
    """Return windows of a text, its tokens, and whether it is longer than the windows."""
    split = tokenizer(
        text, truncation=True, max_length=size, return_overflowing_tokens=True,
        return_special_tokens_mask=True, verbose=False,
    )  # fmt: skip
    windows = [torch.tensor(row) for row in split["input_ids"][:MAX_WINDOWS]]
    masks = [torch.tensor(row).bool() for row in split["special_tokens_mask"][:MAX_WINDOWS]]
    later = [window[~mask] for window, mask in zip(windows[1:], masks[1:], strict=True)]
    return windows, torch.cat([windows[0], *later]), len(split["input_ids"]) > MAX_WINDOWS
