"""A BERT of random weights and random texts as long as those of MultiNLI; nothing is downloaded."""

from dataclasses import dataclass, field

import torch
from transformers import AutoModelForSequenceClassification, BertConfig

import fastif

LABELS = 3
LENGTH_LOG_MEAN, LENGTH_LOG_DEVIATION = 3.557, 0.479
SHORTEST, LONGEST = 6, 128
"""Pairs of MultiNLI have 39.2 ± 19.2 tokens (9,815 pairs of its development set, BERT's uncased
vocabulary): the logarithm of their number has this mean and deviation, 6 is the least, and a
classifier cuts them at 128, which concerns 0.3 % of them."""


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Attributes:
        rows, queries: training examples and what is asked about.
        tile: training gradients that stand in the workspace of the scan.
        batch: examples a batch of everything in single precision.
        together: queries solved at a time.
        curvature_rows: training examples that the curvature is taken over.
        dimensions, width: of sketches and of the folding before them.
        keep: rows kept at either end of a query's scores.
        model: of the BERT; its base dimensions if left out.
    """

    rows: int
    queries: int
    tile: int
    batch: int
    together: int
    curvature_rows: int
    dimensions: int
    width: int
    keep: int
    model: dict[str, int] = field(default_factory=dict)


FULL = Scale(393_000, 1_000, 512, 128, 100, 2_048, 1_000, 16_384, 100)
TINY = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
SMOKE = Scale(70, 7, 16, 8, 3, 24, 20, 256, 5, TINY)
SCALES = {"full": FULL, "smoke": SMOKE}


@dataclass(frozen=True, eq=False)
class Work:
    """What is measured, on one device.

    Attributes:
        scale: of everything.
        objective: the classifier; its last two layers, pooler and head are attributed.
        train, queries: texts.
    """

    scale: Scale
    objective: fastif.TransformerObjective
    train: fastif.TextExamples
    queries: fastif.TextExamples

    @classmethod
    def of(cls, scale: Scale, device: torch.device) -> "Work":
        """The same work for the same scale, whatever the device."""
        config = BertConfig(num_labels=LABELS, **scale.model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = AutoModelForSequenceClassification.from_config(
                config, attn_implementation="eager"
            )
        model.eval().to(device)
        objective = fastif.TransformerObjective(model, "last:2")
        train, queries = (
            texts(count, config.vocab_size, seed, device)
            for seed, count in enumerate((scale.rows, scale.queries))
        )
        return cls(scale, objective, train, queries)

    @property
    def device(self) -> torch.device:
        """Where it is done."""
        return self.objective.like.device


def texts(count: int, vocabulary: int, seed: int, device: torch.device) -> fastif.TextExamples:
    """Random tokens and labels; lengths are log-normal, rounded and cut, like MultiNLI's."""
    generator = torch.Generator().manual_seed(seed)
    log_lengths = torch.randn(count, generator=generator) * LENGTH_LOG_DEVIATION + LENGTH_LOG_MEAN
    lengths = log_lengths.exp().round().long().clamp(SHORTEST, LONGEST)
    flat = torch.randint(1, vocabulary, (int(lengths.sum()),), generator=generator)
    labels = torch.randint(LABELS, (count,), generator=generator)
    whole = torch.zeros(count, dtype=torch.bool)
    return fastif.TextExamples(flat.split(lengths.tolist()), None, labels, whole, 0, device)
