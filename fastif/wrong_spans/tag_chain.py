"""Linear chain of BIO tags: marginal probabilities of spans by the forward-backward algorithm."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

SCALES, TRANSITION_WEIGHTS = (0.5, 0.7, 0.85, 1.0, 1.2), (0.0, 0.25, 0.5, 0.75, 1.0)
"""Weights of emissions and transitions that are compared by the likelihood of the given tags."""
FIRST_WEIGHT = 0.5
"""Weight of transitions with which the scale is selected."""
SMOOTHING = 0.1
"""Count that is added to every possible pair of tags."""
IMPOSSIBLE = -1e9


@dataclass(frozen=True, eq=False)
class TagChain:
    """Conditional random field of a sentence's BIO tags (Lafferty et al., 2001), given the words.

    Tag 0 is O, 1 + 2k is B and 2 + 2k is I of type k.

    Attributes:
        emissions: Log potential of each tag of each word, [t, c].
        transitions: Log potential of a pair of tags in a row, [c, c].
        start: Log potential of the first tag, [c].
    """

    emissions: Float[Tensor, "t c"]
    transitions: Float[Tensor, "c c"]
    start: Float[Tensor, " c"]

    @cached_property
    def forward(self) -> Float[Tensor, "t c"]:
        """Log mass of all beginnings up to each word with its tag."""
        rows = [self.start + self.emissions[0]]
        for emission in self.emissions[1:]:
            rows.append((rows[-1][:, None] + self.transitions).logsumexp(0) + emission)
        return torch.stack(rows)

    @cached_property
    def backward(self) -> Float[Tensor, "t c"]:
        """Log mass of all continuations after each word with its tag."""
        rows = [torch.zeros_like(self.start)]
        for emission in self.emissions[1:].flip(0):
            rows.append((self.transitions + emission + rows[-1]).logsumexp(1))
        return torch.stack(rows[::-1])

    @property
    def log_mass(self) -> Float[Tensor, ""]:
        """Log of the sum over all tag sequences."""
        return self.forward[-1].logsumexp(0)

    def compute_marginals(self) -> Float[Tensor, "t c"]:
        """Return the probability of each tag of each word."""
        return (self.forward + self.backward - self.log_mass).exp()

    def score(self, tags: Int[Tensor, " t"]) -> Float[Tensor, ""]:
        """Return the log probability of a tag sequence."""
        places = torch.arange(len(tags))
        total = self.start[tags[0]] + self.emissions[places, tags].sum()
        return total + self.transitions[tags[:-1], tags[1:]].sum() - self.log_mass

    def compute_span_probabilities(self, longest: int) -> Float[Tensor, "t l k"]:
        """Return the probability of a span of each start, length (from 1) and type.

        Spans that exceed the sentence have probability 0. A span ends before any tag but its own I.
        """
        count, kinds = len(self.emissions), (self.emissions.shape[1] - 1) // 2
        begin, inside = 1 + 2 * torch.arange(kinds), 2 + 2 * torch.arange(kinds)
        result = self.emissions.new_zeros(count, longest, kinds)
        mass, last = self.forward[:, begin], begin
        for length in range(1, min(longest, count) + 1):
            ends = torch.arange(length - 1, count)
            if length > 1:
                mass = mass[:-1] + self.transitions[last, inside] + self.emissions[ends][:, inside]
                last = inside
            closing = self._close_spans(last, inside)
            result[: len(ends), length - 1] = (mass + closing[ends] - self.log_mass).exp()
        return result

    def compute_outside(self, start: int, end: int) -> float:
        """Return the probability that the words from `start` to `end` are in no span."""
        inner = (
            self.emissions[start + 1 : end, 0].sum() + (end - start - 1) * self.transitions[0, 0]
        )
        log_probability = self.forward[start, 0] + inner + self.backward[end - 1, 0] - self.log_mass
        return float(log_probability.exp())

    def _close_spans(self, last: Tensor, inside: Tensor) -> Float[Tensor, "t k"]:
        """Log mass after each word, if a span of each type ends there."""
        after = self.emissions + self.backward
        kinds, blocked = len(inside), self.transitions[last].clone()
        blocked[torch.arange(kinds), inside] = IMPOSSIBLE
        closing = (blocked[None] + after[1:, None]).logsumexp(2)
        return torch.cat([closing, closing.new_zeros(1, kinds)])


@dataclass(frozen=True, eq=False)
class ChainModel:
    """Transitions and weights of the chains of all sentences.

    Attributes:
        transitions: Log ratio of a pair of tags to independent tags, [c, c].
        start: Log ratio of the first tag to any tag, [c].
        scale: Weight of the log emissions.
        weight: Weight of the transitions; impossible pairs stay so.
    """

    transitions: Float[Tensor, "c c"]
    start: Float[Tensor, " c"]
    scale: float
    weight: float

    def make_chain(self, log_probabilities: Float[Tensor, "t c"]) -> TagChain:
        """Return the chain of a sentence from its log probabilities of tags."""
        return TagChain(
            self.scale * log_probabilities,
            self._weigh(self.transitions),
            self._weigh(self.start),
        )

    def _weigh(self, potentials: Tensor) -> Tensor:
        return torch.where(potentials <= IMPOSSIBLE, potentials, self.weight * potentials)


def fit_chain(
    log_probabilities: Sequence[Float[Tensor, "t c"]], tags: Sequence[Int[Tensor, " t"]]
) -> ChainModel:
    """Fit transitions by counts, and the two weights by the likelihood of the given tags.

    Args:
        log_probabilities: Out-of-fold log probabilities of the tags of each sentence.
        tags: Given tags of each sentence.
    """
    classes = log_probabilities[0].shape[1]
    possible = _list_possible(classes)
    counts = torch.full((classes, classes), SMOOTHING, dtype=torch.float64)
    first, every = (torch.full((classes,), SMOOTHING, dtype=torch.float64) for _ in range(2))
    for row in tags:
        counts.index_put_((row[:-1], row[1:]), counts.new_ones(()), accumulate=True)
        every += torch.bincount(row, minlength=classes)
        first[row[0]] += 1
    counts = counts * possible[1:]
    prior = (every / every.sum()).log()
    transitions = (counts / counts.sum(1, keepdim=True)).log() - prior
    transitions = transitions.masked_fill(~possible[1:], IMPOSSIBLE)
    start = (first / first.sum()).log() - prior
    start = start.masked_fill(~possible[0], IMPOSSIBLE)
    return _select_weights(transitions, start, log_probabilities, tags)


def _list_possible(classes: int) -> Tensor:
    """Return which tags may come first (row 0), and after each tag (the other rows)."""
    possible = torch.ones(classes + 1, classes, dtype=torch.bool)
    inside = torch.arange(2, classes, 2)
    possible[:, inside] = False
    possible[inside + 1, inside] = True  # I after I
    possible[inside, inside] = True  # I after B, which is one tag before
    return possible


SELECTION_SENTENCES = 150
"""Number of sentences on which the weights are compared."""


def _select_weights(
    transitions: Tensor,
    start: Tensor,
    log_probabilities: Sequence[Tensor],
    tags: Sequence[Tensor],
) -> ChainModel:
    step = max(1, len(tags) // SELECTION_SENTENCES)
    pairs = list(zip(log_probabilities[::step], tags[::step], strict=True))

    def measure(model: ChainModel) -> float:
        return sum(float(model.make_chain(rows).score(row)) for rows, row in pairs)

    models = [ChainModel(transitions, start, scale, FIRST_WEIGHT) for scale in SCALES]
    scale = max(models, key=measure).scale
    models = [ChainModel(transitions, start, scale, weight) for weight in TRANSITION_WEIGHTS]
    return max(models, key=measure)
