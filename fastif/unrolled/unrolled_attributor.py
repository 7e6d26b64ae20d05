"""Attributor through the training: the effects of unrolled differentiation for ranked queries."""

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.attribution.certificate import (
    NONFINITE_GRADIENT,
    Certificate,
    make_blank_certificate,
)
from fastif.attribution.control_sample import ControlScores, select_control_ids
from fastif.attribution.member import Member
from fastif.attribution.scorers import PrecomputedScorer
from fastif.attribution.solve_queries import SolvedQueries, zero_nonfinite
from fastif.candidates.retrieval import ExhaustiveSearch, Search
from fastif.data.examples import Examples
from fastif.data.torch_forms import ExamplesLike
from fastif.gradients.per_example import Gradients, compute_measure_gradients
from fastif.models.objective import Objective
from fastif.models.trial import try_table
from fastif.unrolled.reverse_sweep import UnrolledSettings, unrolled_removal_effects
from fastif.unrolled.training_record import TrainingRecord

EXPLODED = (
    "Its derivative through the training is not finite: the training is not smooth enough for it. "
    "Use influence at the final weights or at a checkpoint."
)
"""Reason why a query is quarantined whose adjoints grew without bound."""


SWEEP_GB = 4.0
"""Memory for the adjoints of a sweep."""


@dataclass(frozen=True, eq=False)
class UnrolledAttributor(Member):
    """Unrolled differentiation of a recorded training (Hara et al., 2019), as an attributor.

        removal_effect[z, i] = -dM_z(θ_T) / dw_i

    the change of the query's measure M if row i had weight 0 in each batch of the recorded
    training, in nats; positive = helpful. See `unrolled_removal_effects`. All effects of a query
    come from one sweep through the training, so candidates save no time. No linear system is
    solved: residual, damping and solution norm of the certificate are NaN.

    Memory: (m + 3) · q · p numbers for q queries in a sweep and m moments of the optimiser, and
    q · n effects.

    Args:
        objective: Model at the final parameters of the training.
        train: The n training rows in the order of the record. A `PrefixCache` spares the frozen
            layers.
        record: Record of the training.
        search: Choice of the training examples in the result; all of them by default.
        settings: Curvature and treatment of the second moments.
        sweep_gb: Memory for the adjoints of a sweep; more queries take several sweeps.
        progress: Callback with the numbers of reversed steps and of all steps of each sweep.

    Examples:
        >>> from fastif import CrossEntropy, ModuleObjective, TensorExamples, TrainingConfig
        >>> from fastif.unrolled.record_training import record_training
        >>> generator = torch.Generator().manual_seed(0)
        >>> points = torch.randn(40, 2, generator=generator)
        >>> train = TensorExamples(points, (points[:, 0] > 0).long())
        >>> objective = ModuleObjective(torch.nn.Linear(2, 2), CrossEntropy())
        >>> config = TrainingConfig(epochs=5, learning_rate=0.1)
        >>> objective.params, record = record_training(objective, train, config)
        >>> attributor = UnrolledAttributor(objective, train, record, ExhaustiveSearch(keep=3))
        >>> attributor(train, [0, 1]).influences.removal_effect.shape
        torch.Size([2, 6])
    """

    objective: Objective
    train: ExamplesLike
    record: TrainingRecord
    search: Search = field(default_factory=ExhaustiveSearch)
    _: KW_ONLY
    settings: UnrolledSettings = field(default_factory=UnrolledSettings)
    sweep_gb: float = SWEEP_GB
    progress: Callable[[int, int], None] | None = None

    @cached_property
    def gradients(self) -> Gradients:
        """Per-example gradients at the final parameters."""
        return Gradients(self.objective)

    @property
    def sweep_queries(self) -> int:
        """Number of queries in a sweep, at least 1."""
        moments = self.record.optimizer.num_moments
        row_bytes = (moments + 3) * self.objective.space.size * self.objective.like.element_size()
        return max(1, int(self.sweep_gb * 1e9 / row_bytes))

    def solve_to_score(self, queries: Examples, ids: Int[Tensor, " q"]) -> SolvedQueries:
        """Sweep through the training for the queries, as many at once as the memory allows."""
        train = try_table(self.objective, self.train, "training set")
        effects, products, norms, nonfinite = self._sweep(train, queries, ids)
        exploded = ~torch.isfinite(effects).all(1)
        effects[exploded] = 0
        scores = effects * len(train)  # scorers divide by n
        control = ControlScores(scores[:, select_control_ids(len(train))].cpu(), products)
        scorer = PrecomputedScorer(train, scores, torch.ones(len(train), dtype=torch.bool))
        return SolvedQueries(
            scorer, control, _make_certificate(control, norms, nonfinite, exploded)
        )

    def compute_effects(
        self, queries: ExamplesLike, ids: Int[Tensor, " q"]
    ) -> Float[Tensor, "q n"]:
        """Return the removal effects of all rows; not finite for a query without a derivative."""
        train = try_table(self.objective, self.train, "training set")
        table = try_table(self.objective, queries, "queries", self.objective.query_measure)
        effects, _, _, nonfinite = self._sweep(train, table, ids)
        effects[nonfinite] = torch.nan
        return effects

    def _sweep(
        self, train: Examples, queries: Examples, ids: Int[Tensor, " q"]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return effects [q n], plain products [q c] of the control sample, norms, nonfinite."""
        parts = [self._sweep_part(train, queries, part) for part in ids.split(self.sweep_queries)]
        effects, products, norms, nonfinite = (torch.cat(part) for part in zip(*parts, strict=True))
        return effects, products, norms, nonfinite

    def _sweep_part(
        self, train: Examples, queries: Examples, ids: Int[Tensor, " q"]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows = compute_measure_gradients(self.gradients, queries, ids)
        norms, nonfinite = zero_nonfinite(rows)
        control_ids = select_control_ids(len(train))
        products = torch.empty(len(rows), len(control_ids), dtype=rows.dtype)
        for places in train.length_buckets(control_ids):
            tile = self.gradients.compute_loss_tile(train.take(control_ids[places]))
            products[:, places] = tile.dot(rows).cpu()
        effects = unrolled_removal_effects(
            self.record, self.objective, train, rows, self.settings, progress=self.progress
        )
        return effects, products, norms, nonfinite


def _make_certificate(
    control: ControlScores,
    norms: Float[Tensor, " q"],
    nonfinite: Bool[Tensor, " q"],
    exploded: Bool[Tensor, " q"],
) -> Certificate:
    reasons = tuple(
        NONFINITE_GRADIENT if first else EXPLODED if second else None
        for first, second in zip(nonfinite.tolist(), exploded.tolist(), strict=True)
    )
    leverage = "off: effects through the training are first-order"
    blank = make_blank_certificate(~(nonfinite | exploded), math.nan, reasons, leverage)
    certificate = replace(
        blank, gradient_norm=norms, score_correlation=control.compute_correlation()
    )
    return certificate.mask_failed(nonfinite | exploded)
