"""BERT with random weights, and random texts with the lengths of MultiNLI; no download."""

from dataclasses import dataclass, field

import torch
from transformers import AutoModelForSequenceClassification, BertConfig

import fastif
from fastif.solvers.product_precision import LOW
from fastif.solvers.settings import Products

LABELS = 3
LENGTH_LOG_MEAN, LENGTH_LOG_DEVIATION = 3.557, 0.479
SHORTEST, LONGEST = 6, 128
"""Mean and standard deviation of the logarithm of the number of tokens, and its limits. Pairs of
MultiNLI have 39.2 ± 19.2 tokens (9,815 pairs of its development set, BERT's uncased vocabulary), at
least 6; truncation at 128 concerns 0.3 % of them."""


@dataclass(frozen=True)
class Scale:
    """Sizes of the workload.

    Attributes:
        rows: Number of training rows.
        queries: Number of queries.
        tile: Number of training gradients in the workspace of the scan.
        batch: Batch size of queries, and of stages that compare with single precision.
        solve_batch: Number of factor rows that a solve by EK-FAC multiplies at once.
        curvature_rows: Number of training rows of the curvature for EK-FAC.
        converged_rows: Number of training rows of the curvature for the converged solve.
        gram_batch: Number of factor rows that the converged solve multiplies at once.
        held_rows: Number of training rows with factor rows in memory for its Gram matrix.
        residual_rows: Number of training rows on which the residual of the full matrix is
            estimated.
        dimensions: Size of a sketch.
        width: Size of the count sketch before the final projection.
        keep: Number k of top-k and of bottom-k rows a query.
        peer_rows: Number of training rows scored by kronfluence, and by fastif next to it.
        peer_queries: Number of queries that they score.
        peer_seconds: Time limit of each of their runs.
        together: Largest number of queries solved together; limited by memory alone if None.
        model: Configuration of the BERT; its base dimensions by default.
    """

    rows: int
    queries: int
    tile: int
    batch: int
    solve_batch: int
    curvature_rows: int
    converged_rows: int
    gram_batch: int
    held_rows: int
    residual_rows: int
    dimensions: int
    width: int
    keep: int
    peer_rows: int
    peer_queries: int
    peer_seconds: float
    together: int | None = None
    model: dict[str, int] = field(default_factory=dict)


FULL = Scale(
    393_000, 1_000, 512, 128, 512, 2_048, 8_192, 256, 768, 2_048, 1_000, 16_384, 100,
    peer_rows=8_192, peer_queries=256, peer_seconds=120,
)  # fmt: skip
"""For a card of 100 GB or more."""
SMALL = Scale(
    20_000, 100, 128, 64, 128, 512, 1_024, 32, 96, 512, 500, 8_192, 50,
    peer_rows=2_048, peer_queries=64, peer_seconds=45,
)  # fmt: skip
"""For a card of 24 GB."""
TINY = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
SMOKE = Scale(
    70, 7, 16, 8, 16, 24, 32, 8, 16, 32, 20, 256, 5,
    peer_rows=24, peer_queries=5, peer_seconds=300, together=3, model=TINY,
)  # fmt: skip
SCALES = {"full": FULL, "small": SMALL, "smoke": SMOKE}


@dataclass(frozen=True, eq=False)
class Work:
    """Workload on one device.

    Attributes:
        scale: Sizes of the workload.
        objective: Classifier; its last two layers, pooler and head are attributed.
        train: Training texts.
        queries: Query texts.
    """

    scale: Scale
    objective: fastif.TransformerObjective
    train: fastif.TextExamples
    queries: fastif.TextExamples

    @classmethod
    def of(cls, scale: Scale, device: torch.device) -> "Work":
        """Return the workload of a scale; it does not depend on the device."""
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
    def low_products(self) -> Products:
        """Precision of products below single on the device."""
        return LOW[self.device.type]

    @property
    def device(self) -> torch.device:
        """Device of the workload."""
        return self.objective.like.device


def texts(count: int, vocabulary: int, seed: int, device: torch.device) -> fastif.TextExamples:
    """Return random tokens and labels; lengths are log-normal, rounded and clipped."""
    generator = torch.Generator().manual_seed(seed)
    log_lengths = torch.randn(count, generator=generator) * LENGTH_LOG_DEVIATION + LENGTH_LOG_MEAN
    lengths = log_lengths.exp().round().long().clamp(SHORTEST, LONGEST)
    flat = torch.randint(1, vocabulary, (int(lengths.sum()),), generator=generator)
    labels = torch.randint(LABELS, (count,), generator=generator)
    whole = torch.zeros(count, dtype=torch.bool)
    return fastif.TextExamples(flat.split(lengths.tolist()), None, labels, whole, 0, device)
