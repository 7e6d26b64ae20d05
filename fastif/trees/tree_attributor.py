"""Effects of training rows on the predictions of boosted trees, by a method of choice."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from fastif.attribution.influence import Influences
from fastif.errors import InputError
from fastif.losses.measure import Measure
from fastif.numerics.top_bottom_k import top_bottom_k
from fastif.trees.boostin import compute_boostin
from fastif.trees.boosting_loss import differentiate
from fastif.trees.leaf_influence import compute_leaf_influence
from fastif.trees.leaf_kernel import compute_kernel_influence
from fastif.trees.training import TreeTraining, refit_leaves

METHODS = ("leaf-influence", "boostin", "leaf-refit", "kernel")
KERNEL_ROWS = 20_000
"""Most training rows of the method `kernel`, which holds n x n numbers."""
_GB = 2**30


@dataclass(frozen=True, eq=False)
class TreeAttributor:
    """Boosted trees with their training rows: called with queries, it returns their influences.

    Attributes:
        training: Training of the ensemble, see `trace_training`.
        method: "leaf-influence" (Sharchilev et al., 2018, first order), "leaf-refit" (exact with
            fixed trees, a refit for each row), "boostin" (Brophy et al., 2023) or "kernel".
        measure: Measure of the queries; the loss of training by default.
        memory_gb: Memory of a tile of queries.
        kernel_penalty: L2 penalty of the method "kernel".

    Raises:
        InputError: The method is none of these, or too large for the rows.
    """

    training: TreeTraining
    method: str = "leaf-influence"
    measure: Measure | None = None
    memory_gb: float = 1.0
    kernel_penalty: float = 3.0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError("method", ", ".join(METHODS), self.method, "Choose one of these.")
        if self.method == "kernel" and len(self.training) > KERNEL_ROWS:
            expected = f"at most {KERNEL_ROWS:,} training rows for the method kernel"
            remedy = "Choose another method: they need no n x n matrix."
            raise InputError("training rows", expected, f"{len(self.training):,}", remedy)

    def __call__(
        self, rows: Float[Tensor, "q f"], targets: Shaped[Tensor, "t *d"], keep: int = 20
    ) -> Influences:
        """Return the most harmful and most helpful training rows of each query.

        Args:
            rows: Features of the queries, as those of training.
            targets: Targets of the queries.
            keep: Number of rows kept at each end.
        """
        width = min(2 * keep, len(self.training))
        ids = [torch.empty(0, width, dtype=torch.long)]
        values = [torch.empty(0, width, dtype=torch.double)]
        for effects in self.iterate_effects(rows, targets):
            every = torch.arange(effects.shape[1]).expand(len(effects), -1)
            order = top_bottom_k(every, effects, keep)
            ids.append(order)
            values.append(effects.gather(1, order))
        return Influences(torch.cat(ids), torch.cat(values))

    def compute_effects(
        self, rows: Float[Tensor, "q f"], targets: Shaped[Tensor, "t *d"]
    ) -> Float[Tensor, "q n"]:
        """Return the removal effect of each training row on each query's measure.

        Raises:
            InputError: A target cannot be measured.
        """
        parts = list(self.iterate_effects(rows, targets))
        return torch.cat(parts) if parts else torch.zeros(0, len(self.training)).double()

    def iterate_effects(
        self, rows: Float[Tensor, "q f"], targets: Shaped[Tensor, "t *d"]
    ) -> Iterator[Float[Tensor, "b n"]]:
        """Yield the effects of some queries at a time, as `compute_effects` has them.

        Raises:
            InputError: A target cannot be measured.
        """
        loss = self.training.ensemble.loss
        measure = loss.measure if self.measure is None else self.measure
        invalid = measure.find_invalid_targets(targets, loss.outputs) if len(targets) else None
        if invalid is not None or len(rows) != len(targets):
            expected = "a target for each query" if invalid is None else invalid[0]
            raise InputError("targets of queries", expected, "others", "Correct these targets.")
        leaves = self.training.ensemble.assign(rows)
        compute = self._choose()
        for tile in torch.arange(len(rows)).split(self._count_queries()):
            if len(tile):
                yield compute(leaves[:, tile], targets[tile], measure)

    def _count_queries(self) -> int:
        """Return the number of queries, or of refits, of a tile."""
        numbers = len(self.training) * self.training.ensemble.loss.outputs * 8
        return max(1, int(self.memory_gb * _GB / (8 * numbers)))

    def _choose(self) -> Callable[..., Float[Tensor, "q n"]]:
        by_name = {
            "leaf-influence": self._differentiate,
            "boostin": self._trace,
            "leaf-refit": self._refit,
            "kernel": self._use_kernel,
        }
        return by_name[self.method]

    def _trace(
        self, leaves: Int[Tensor, "t q"], targets: Shaped[Tensor, "q *d"], measure: Measure
    ) -> Float[Tensor, "q n"]:
        return compute_boostin(self.training, leaves, targets, measure)

    def _differentiate(
        self, leaves: Int[Tensor, "t q"], targets: Shaped[Tensor, "q *d"], measure: Measure
    ) -> Float[Tensor, "q n"]:
        return compute_leaf_influence(self.training, leaves, self._slope(leaves, targets, measure))

    def _use_kernel(
        self, leaves: Int[Tensor, "t q"], targets: Shaped[Tensor, "q *d"], measure: Measure
    ) -> Float[Tensor, "q n"]:
        slopes = self._slope(leaves, targets, measure)
        return compute_kernel_influence(self.training, leaves, slopes, self.kernel_penalty)

    def _slope(
        self, leaves: Int[Tensor, "t q"], targets: Shaped[Tensor, "q *d"], measure: Measure
    ) -> Float[Tensor, "q o"]:
        """Return the derivative of the measure at the ensemble's own scores."""
        ensemble = self.training.ensemble
        scores = ensemble.base.expand(len(targets), -1).clone()
        for tree, leaf in zip(ensemble.trees, leaves, strict=True):
            scores[:, tree.outputs] += tree.values[leaf.long()]
        return differentiate(measure, ensemble.loss, scores, targets)

    def _refit(
        self, leaves: Int[Tensor, "t q"], targets: Shaped[Tensor, "q *d"], measure: Measure
    ) -> Float[Tensor, "q n"]:
        """LeafRefit: the change of each query when the leaf values are fitted without a row."""
        loss, weights = self.training.ensemble.loss, self.training.weights

        def measure_refits(tile: Tensor) -> Float[Tensor, "b q"]:
            changed = weights.repeat(len(tile), 1)
            changed[torch.arange(len(tile)), tile] = 0.0
            scores = refit_leaves(self.training, changed, leaves)
            flat = loss.to_logits(scores.flatten(0, 1))
            repeated = targets.repeat(len(tile), *[1] * (targets.dim() - 1))
            return measure(flat, repeated).view(len(tile), -1)

        before = measure(
            loss.to_logits(refit_leaves(self.training, weights[None], leaves)[0]), targets
        )
        tiles = torch.arange(len(weights)).split(self._count_queries())
        return torch.cat([measure_refits(tile) - before for tile in tiles]).T
