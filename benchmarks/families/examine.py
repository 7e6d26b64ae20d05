"""Test of one family with `last:1` and `all`, against the model on each row alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

import fastif
from benchmarks.families.tiny import tiny_classifier
from fastif import Gradients, InputError, TextExamples, TransformerObjective
from fastif.gradients.per_example import compute_loss_gradients
from fastif.models.prefix_cache import PrefixCache

LENGTHS = (9, 4, 6, 9, 3, 13)
FIRST_WORD, LAST_WORD, END = 8, 60, 3
LABELS = 3
LONGER = {"canine": 8, "funnel": 5}
"""Further tokens, for families with a minimum length."""
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4}
"""Tolerance relative to the largest entry; some families use single precision in parts."""
REASON = 300
"""Characters of a reason that are shown."""
ATTRIBUTED = ("last:1", "all")


@dataclass(frozen=True)
class Verdict:
    """Result of one family.

    Attributes:
        family: Name of the family in transformers.
        attributed: Attributed parameters, `last:1` or `all`.
        word: "exact", "uncut only", "refused", "not tried" or "wrong".
        why: Reason, for all but "exact".
    """

    family: str
    attributed: str
    word: str
    why: str = ""


def examine(family: str, attributed: str) -> Verdict:
    """Compare losses of padded batches and gradients of examples with those of single rows."""

    def verdict(word: str, why: object = "") -> Verdict:
        return Verdict(family, attributed, word, format_reason(why))

    try:
        model = tiny_classifier(family)
        rows = make_rows(model, LONGER.get(family, 0))
        losses = torch.stack([_loss(model, rows, i).detach() for i in range(len(rows))])
    except Exception as error:
        return verdict("not tried", error)
    if not torch.isfinite(losses).all():
        return verdict("not tried", "the tiny model's outputs are not finite")
    try:
        objective = TransformerObjective(model, attributed)
        objective.verify_shortcuts(rows)
    except InputError as error:
        return verdict("refused", error)
    try:
        wrong = next(_differences(model, objective, rows, losses), None)
    except Exception as error:
        wrong = error
    if wrong is not None:
        return verdict("wrong", wrong)
    return verdict("uncut only" if objective.cut_note else "exact", "; ".join(objective.notes))


def _differences(
    model: PreTrainedModel, objective: TransformerObjective, rows: TextExamples, losses: Tensor
) -> Iterator[str]:
    """Yield differences to single rows: losses from tokens and from the cache, gradients."""
    some = rows.with_equal_lengths() if objective.padding.side is None else rows
    cached = PrefixCache(objective, some, 10**9, 4)
    for name, examples in (("tokens", rows), ("batches", some), ("cache", cached)):
        for size in (1, 4, len(rows)):
            values = fastif.predict(objective, examples, size)[1]
            if not _same(values, losses):
                yield f"losses by {name}, {size} at once: off by {_gap(values, losses):.1e}"
    names = objective.space.names
    truth = torch.stack([_gradient(model, rows, i, names) for i in range(len(rows))])
    for name, examples in (("tokens", rows), ("cache", cached)):
        values = compute_loss_gradients(Gradients(objective), examples.with_batch_size(4))
        if not _same(values, truth):
            yield f"gradients by {name}: off by {_gap(values, truth):.1e}"


def make_rows(model: PreTrainedModel, longer: int) -> TextExamples:
    """Return random tokens with an end token, and a second segment if the family has one."""
    generator = torch.Generator().manual_seed(5)
    tokens = []
    lengths = [length + longer for length in LENGTHS]
    for length in lengths:
        words = torch.randint(FIRST_WORD, LAST_WORD, (length,), generator=generator)
        words[-1] = END
        tokens.append(words)
    kinds = getattr(model.config.get_text_config(), "type_vocab_size", 0) or 0
    halves = [(torch.arange(n) >= n // 2).long() for n in lengths]
    labels = torch.arange(len(LENGTHS)) % LABELS
    away = torch.zeros(len(LENGTHS), dtype=torch.bool)
    return TextExamples(tokens, halves if kinds > 1 else None, labels, away, 0)


def _loss(model: PreTrainedModel, rows: TextExamples, i: int) -> Tensor:
    """Return the loss of one row by the model itself, without padding, mask or batch."""
    return cross_entropy(model(**make_tokens(rows, i)).logits, rows.labels[i : i + 1])


def make_tokens(rows: TextExamples, i: int) -> dict[str, Tensor]:
    """Return the arguments of the model for one row, without mask."""
    given = {"input_ids": rows.tokens[i][None]}
    if rows.segments is not None:
        given["token_type_ids"] = rows.segments[i][None]
    return given


def _gradient(model: PreTrainedModel, rows: TextExamples, i: int, names: tuple[str, ...]) -> Tensor:
    weights = dict(model.requires_grad_().named_parameters())
    model.zero_grad()
    _loss(model, rows, i).backward()
    gradients = [weights[name].grad for name in names]
    flat = [
        torch.zeros_like(weights[name]).flatten() if gradient is None else gradient.flatten()
        for name, gradient in zip(names, gradients, strict=True)
    ]
    return torch.cat(flat)


def _same(values: Tensor, truth: Tensor) -> bool:
    return bool(torch.isfinite(values).all()) and _gap(values, truth) <= TOLERANCE[truth.dtype]


def _gap(values: Tensor, truth: Tensor) -> float:
    return float((values - truth).abs().max() / truth.abs().max().clamp_min(1e-12))


def format_reason(why: object) -> str:
    """Return a reason on one line, shortened."""
    text = f"{type(why).__name__}: {why}" if isinstance(why, Exception) else str(why)
    return " ".join(text.split())[:REASON]
