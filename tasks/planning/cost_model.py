"""Cost model: the number of examples and products that each stage of an audit computes."""

import math
from dataclasses import dataclass, replace

from fastif.attribution.control_sample import CONTROL_SIZE
from fastif.evaluation.retraining_predictor import MAX_GRAM_ROWS
from fastif.evaluation.row_effects import MAX_CONTROL_QUERIES
from fastif.evaluation.select_damping import HALVES
from fastif.evaluation.spectral_damping import PRODUCTS, count_sampled_examples
from fastif.solvers.preconditioner import EKFAC_SWEEPS
from tasks.planning.calibration import Rates
from tasks.planning.workload import Workload
from tasks.run.selections import MIN_QUERIES

FORWARDS_PER_STEP = 3
"""Cost of a training step, in forward passes."""
SCANS, FACTOR_PASSES, KERNEL_PASSES = 2, 5, 2
"""Passes over the training rows, and over the factor rows, by which a checkpoint is tried; those of
the latter that its Gram matrix takes."""

DAMPING_STAGE = "damping"
"""Stage that selects the damping by retraining, with the hidden states of the retrained models."""


@dataclass(frozen=True)
class WorkItems:
    """Work of a stage, counted in examples.

    Attributes:
        forwards: Training rows passed through the layers above the frozen ones.
        gradients: Per-example gradients of training rows.
        products: Inner products of a training gradient with a query's solution.
        query_gradients: Gradients of queries.
        factor_products: Inner products of factor rows with each other.
    """

    forwards: float = 0.0
    gradients: float = 0.0
    products: float = 0.0
    query_gradients: float = 0.0
    factor_products: float = 0.0

    def estimate_seconds(self, rates: Rates) -> float:
        """Return the time of the work in seconds."""
        gradients = (self.gradients + self.query_gradients) * rates.gradient
        pair = rates.product if rates.factor_product is None else rates.factor_product
        products = self.products * rates.product + self.factor_products * pair
        return self.forwards * rates.forward + gradients + products


def estimate_work(workload: Workload) -> dict[str, WorkItems]:
    """Return the remaining work of each stage, in order."""
    is_described = workload.prepared.has_train_table
    return {
        DAMPING_STAGE: _estimate_damping_work(workload),
        "predictions": WorkItems(0 if is_described else workload.remaining.train_rows),
        "index": _estimate_index_work(workload),
        "curvature": _estimate_factor_work(workload),
        "solve": _estimate_solve_work(workload),
        "certificate": _estimate_certificate_work(workload),
        "score": _estimate_score_work(workload),
        "recall": _estimate_recall_work(workload),
    }


def count_passes(workload: Workload) -> float:
    """Return the mean number of passes of a training row through a model's frozen layers."""
    stages = estimate_work(workload)
    del stages[DAMPING_STAGE]
    visits = sum(items.forwards + items.gradients for items in stages.values())
    return visits / workload.train.rows / workload.model.count


def _estimate_damping_work(workload: Workload) -> WorkItems:
    """Training on half-subsets of the rows, or products with the curvature for an eigenvalue."""
    if workload.prepared.has_damping or not workload.remaining.new_shards:
        return WorkItems()
    if not workload.training_epochs:
        problem = workload.problem
        examples = min(problem.rows, count_sampled_examples(problem.rows_per_example))
        gradients = PRODUCTS * workload.model.count * examples * problem.rows_per_example
        return WorkItems(gradients=gradients)
    examples = HALVES * workload.training_epochs * (workload.train.rows // 2)
    sweep = estimate_sweep_work(workload, 1, min(MAX_CONTROL_QUERIES, workload.queries.rows))
    factor = _count_factor_work(workload) if _shares_factor(workload) else WorkItems()
    return WorkItems(
        forwards=examples * FORWARDS_PER_STEP + sweep.forwards,
        gradients=_count_selection_gradients(workload) + sweep.gradients + factor.gradients,
        products=sweep.products,
        factor_products=factor.factor_products,
    )


def _shares_factor(workload: Workload) -> bool:
    """Whether the selection of the damping computes the factors that the shards use."""
    is_exact = workload.solver.kind == "dual" and not workload.solver.factor_depends_on_damping
    is_pending = not workload.prepared.has_damping and workload.training_epochs > 0
    return is_exact and is_pending and workload.problem.factor_rows <= MAX_GRAM_ROWS


def estimate_sweep_work(workload: Workload, sweeps: int, queries: int) -> WorkItems:
    """Return the work of some sweeps through the training, for some queries in all.

    Each repeats the training twice, and multiplies the gradient and factor rows of each row of a
    batch with the adjoints.
    """
    if workload.sweep is None:
        return WorkItems()
    rows, columns = workload.sweep.epochs * workload.train.rows, workload.problem.rows_per_example
    return WorkItems(
        forwards=2 * FORWARDS_PER_STEP * rows * sweeps,
        gradients=(1 + columns) * rows * sweeps,
        products=(1 + 2 * columns) * rows * queries,
    )


def _count_selection_gradients(workload: Workload) -> int:
    """Gradients of the checkpoints, and of EK-FAC, among which the estimator is selected."""
    factor_rows = min(MAX_GRAM_ROWS, workload.problem.factor_rows)
    passes = FACTOR_PASSES - KERNEL_PASSES * _shares_factor(workload)
    gradients = SCANS * workload.train.rows + passes * factor_rows
    ekfac = SCANS * workload.train.rows + EKFAC_SWEEPS * workload.problem.rows
    return workload.model.checkpoints * gradients + workload.model.tries_ekfac * ekfac


def _estimate_index_work(workload: Workload) -> WorkItems:
    """Embeddings or sketches of the rows that the candidate indexes lack."""
    costs = workload.index_costs if workload.remaining.new_shards else []
    return WorkItems(sum(cost.forwards for cost in costs), sum(cost.gradients for cost in costs))


def _estimate_factor_work(workload: Workload) -> WorkItems:
    """A gradient for each factor row of the curvature, and the products of a kernel matrix."""
    is_rescored = not workload.candidates.has_sketch_scores
    is_solved = workload.remaining.new_shards and (is_rescored or _list_full_scans(workload))
    is_solved = is_solved and not workload.is_unrolled
    if not is_solved or _shares_factor(workload):
        return WorkItems()
    return _count_factor_work(workload)


def _count_factor_work(workload: Workload) -> WorkItems:
    cost, missing = workload.solver_cost, workload.prepared.missing_factors
    return WorkItems(
        gradients=_count_gradients_per_example(workload) * missing * cost.factor_examples,
        factor_products=cost.factor_products * missing,
    )


def _estimate_solve_work(workload: Workload) -> WorkItems:
    """The gradients of the queries, and the solves or sweeps through the training."""
    remaining = workload.remaining
    if workload.is_unrolled:
        work = estimate_sweep_work(workload, remaining.new_shards, remaining.new_queries)
        return replace(work, query_gradients=remaining.new_queries)
    work = _estimate_shard_work(workload, _count_solve_gradients(workload))
    query_gradients = workload.model.count * workload.remaining.new_queries
    return WorkItems(0, work.gradients, work.products, query_gradients)


def _estimate_certificate_work(workload: Workload) -> WorkItems:
    """All factor rows of an example for the residual, one gradient for the control sample."""
    if workload.solver_cost.scores_in_one_sweep or workload.is_unrolled:
        return WorkItems()
    residual_gradients = _count_gradients_per_example(workload) * _count_residual_examples(workload)
    gradients = _count_control_examples(workload) + residual_gradients
    return _estimate_shard_work(workload, gradients, times=2)


def _estimate_score_work(workload: Workload) -> WorkItems:
    """The gradients of the candidates, unless the solve computes the scores, and of a ranking."""
    queries = min(workload.sizes.shard_size, workload.queries.rows)
    examples = workload.candidates.estimate_distinct_candidates(workload.train.rows, queries)
    ranking = _estimate_shard_work(workload, examples * workload.model.ranks_by_cosine)
    if workload.solver_cost.scores_in_one_sweep or workload.is_unrolled:
        return ranking
    scores = _estimate_shard_work(workload, examples, times=_estimate_product_share(workload))
    return WorkItems(
        gradients=scores.gradients + ranking.gradients, products=scores.products + ranking.products
    )


def _estimate_recall_work(workload: Workload) -> WorkItems:
    """Full scans of a few queries."""
    scans, solve_gradients = _list_full_scans(workload), _count_solve_gradients(workload)
    score_gradients = 0 if workload.solver_cost.scores_in_one_sweep else workload.train.rows
    gradients = workload.model.count * (score_gradients + solve_gradients)
    return WorkItems(gradients=len(scans) * gradients, products=sum(scans) * gradients)


def _estimate_shard_work(workload: Workload, examples: float, times: float = 1) -> WorkItems:
    """Gradients that each shard computes, and their products with its queries."""
    models = workload.model.count * (not workload.candidates.has_sketch_scores)
    return WorkItems(
        gradients=models * workload.remaining.new_shards * examples,
        products=models * times * workload.remaining.new_queries * examples,
    )


def _estimate_product_share(workload: Workload) -> float:
    """Return the cost of a low-rank product relative to a full one.

    For a linear layer with i inputs and o outputs, tokens * rank * (i + o) multiplications take the
    place of i * o.
    """
    rank, shapes = workload.candidates.score_rank, workload.model.layer_shapes
    if rank is None:
        return 1.0
    tokens = workload.train.tokens / workload.train.rows
    # A layer that is not wider than the rank is multiplied in full.
    costs = (tokens * rank * sum(s) if rank < min(s) else math.prod(s) for s in shapes)
    return sum(costs) / sum(map(math.prod, shapes))


def _count_gradients_per_example(workload: Workload) -> int:
    """Return the factor rows of an example; 1 for the Hessian, which has no factor."""
    return 1 if workload.problem.is_hessian else workload.problem.rows_per_example


def _count_solve_gradients(workload: Workload) -> int:
    """Return the gradients of one shard's solve, including scores if one sweep gives both."""
    cost = workload.solver_cost
    examples = workload.train.rows if cost.scores_in_one_sweep else cost.solve_examples
    return _count_gradients_per_example(workload) * examples


def _count_control_examples(workload: Workload) -> int:
    return min(workload.train.rows, CONTROL_SIZE)


def _count_residual_examples(workload: Workload) -> float:
    rows, certificate_rows = workload.train.rows, workload.certificate_rows
    if certificate_rows == 0 or workload.problem.rows == rows:
        return 0
    if workload.problem.is_hessian:
        return rows if certificate_rows >= rows else 0
    return rows if certificate_rows >= rows else 1.5 * certificate_rows


def _list_full_scans(workload: Workload) -> list[int]:
    """Return the number of queries in each full scan: to select k, and to measure recall."""
    if workload.remaining.is_continued or not workload.remaining.new_shards:
        return []
    check = workload.candidates.checked_queries
    for_k = [] if workload.prepared.has_k else [max(check, MIN_QUERIES)]
    return [min(count, workload.queries.rows) for count in (*for_k, check) if count]
