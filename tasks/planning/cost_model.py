"""How many examples each stage of an audit takes; no clock is asked for it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fastif.attribution.control_sample import CONTROL_SIZE
from fastif.evaluation.select_damping import HALVES
from storage import Shard, Store, StoreError
from tasks.planning.calibration import Rates
from tasks.planning.memory import (
    count_curvature_rows,
    count_rows_per_example,
    estimate_index_costs,
    estimate_solver_cost,
)
from tasks.run.artifact_keys import factor_digest, index_digests
from tasks.run.context import RunContext
from tasks.run.k_selection import MIN_QUERIES
from tasks.run.reuse import get_reuse
from tasks.run.spec import TRAIN

FORWARDS_PER_STEP = 3
"""Forward passes that a step of training costs."""
DAMPING_STAGE = "damping"
"""The stage that trains other models, with hidden states of their own."""


@dataclass(frozen=True)
class WorkItems:
    """What a stage does, in examples.

    Attributes:
        forwards: training rows that pass forward, above the frozen layers.
        gradients: gradients of training rows.
        products: of a training row's gradient with a query's row.
        query_gradients: gradients of queries.
    """

    forwards: float = 0.0
    gradients: float = 0.0
    products: float = 0.0
    query_gradients: float = 0.0

    def estimate_seconds(self, rates: Rates) -> float:
        """What it takes at these rates."""
        gradients = (self.gradients + self.query_gradients) * rates.gradient
        return self.forwards * rates.forward + gradients + self.products * rates.product


def estimate_work(context: RunContext, shards: Sequence[Shard]) -> dict[str, WorkItems]:
    """Each stage that is still to be done, with the missing `shards`; in order."""
    rows, (missing, queries) = len(context.train_texts), count_new_queries(context, shards)
    ready, models = find_prepared(context), len(context.members)
    rescores = not context.has_sketch_scores
    reuse = get_reuse(context)
    scans = _list_full_scans(context) if missing and reuse is None else []
    rows_to_describe = rows if reuse is None else len(reuse.new_train)
    has_solves = missing and (rescores or scans)
    factored_examples = sum(
        count_factor_examples(m) for m in context.members if factor_digest(m) not in ready
    )
    cost, query_gradients = estimate_solver_cost(context), models * queries
    single_sweep = cost.scores_in_one_sweep
    rows_per_example = (
        count_rows_per_example(context) if context.study.curvature.kind == "gauss-newton" else 1
    )
    solve_gradients, certificate_gradients = (
        rows_per_example * _count_examples_per_shard(context),
        _count_certificate_gradients(context, rows_per_example),
    )
    retraining_examples = (
        _count_retraining_examples(context) if missing and context.known_damping is None else 0
    )
    per_model, distinct_candidates = models * rescores, _estimate_distinct_candidates(context)

    def make_shard_work(examples: float, times: float = 1) -> WorkItems:
        """Each shard takes these gradients, and multiplies them with its queries."""
        return WorkItems(
            gradients=per_model * missing * examples,
            products=per_model * times * queries * examples,
        )

    solve_work, no_work = make_shard_work(solve_gradients), WorkItems()
    scan_gradients = models * (solve_gradients if single_sweep else rows + solve_gradients)
    return {
        DAMPING_STAGE: WorkItems(retraining_examples * FORWARDS_PER_STEP),
        "predictions": WorkItems(rows_to_describe * ("train" not in ready)),
        "index": _estimate_index_work(context) if missing else WorkItems(),
        "curvature": _estimate_factor_work(context, factored_examples, rows_per_example)
        if has_solves
        else WorkItems(),
        "solve": WorkItems(0, solve_work.gradients, solve_work.products, query_gradients),
        "certificate": no_work if single_sweep else make_shard_work(certificate_gradients, times=2),
        "score": no_work
        if single_sweep
        else make_shard_work(distinct_candidates, times=_estimate_product_share(context)),
        "recall": WorkItems(
            gradients=len(scans) * scan_gradients, products=sum(scans) * scan_gradients
        ),
    }


def count_new_queries(context: RunContext, shards: Sequence[Shard]) -> tuple[int, int]:
    """Shards with queries that are not an earlier night's, and how many such queries."""
    reuse = get_reuse(context)
    if reuse is None:
        return len(shards), sum(map(len, shards))
    counts = [int((reuse.queries[shard.start : shard.stop] < 0).sum()) for shard in shards]
    return sum(map(bool, counts)), sum(counts)


def count_passes(context: RunContext, work: dict[str, WorkItems]) -> float:
    """How often a model's frozen layers are asked for each training row, on average."""
    visits = sum(
        items.forwards + items.gradients for name, items in work.items() if name != DAMPING_STAGE
    )
    return visits / len(context.train_texts) / len(context.members)


def is_k_pending(context: RunContext) -> bool:
    """Whether k is yet to be chosen."""
    return context.study.candidates.target_method is not None and context.k_selection is None


def find_prepared(context: RunContext) -> set[str]:
    """What earlier runs left ready: the training table, the index, factors by their digest."""
    store = context.existing_store
    if store is None:
        return set()
    ready = {"train"} if _is_described(store, context.plan.record.run) else set()
    ready |= {digest for digest in index_digests(context) if store.find_artifact("index", digest)}
    digests = {factor_digest(member) for member in context.members}
    return ready | {digest for digest in digests if store.find_artifact("factor", digest)}


def _is_described(store: Store, run: str) -> bool:
    try:
        return store.is_committed(run, TRAIN)
    except StoreError:
        return False  # it is not begun; parts of other runs may be there all the same


def _estimate_distinct_candidates(context: RunContext) -> float:
    """Of one shard."""
    queries = min(context.plan.record.shard_size, len(context.query_texts))
    return context.candidates.estimate_distinct_candidates(len(context.train_texts), queries)


def _estimate_product_share(context: RunContext) -> float:
    """What a product of a training row with a query takes of one in full, if queries have a rank.

    A linear layer of i inputs and o outputs takes tokens x rank x (i + o) multiplications, not i o.
    """
    rank = context.candidates.score_rank
    if rank is None:
        return 1.0
    shapes = [shape for shape in context.objective.space.shapes if len(shape) == 2]
    tokens = float(context.train_texts.lengths.double().mean())
    # A layer that is no wider than the rank is multiplied whole.
    costs = (tokens * rank * sum(s) if rank < min(s) else math.prod(s) for s in shapes)
    return sum(costs) / sum(map(math.prod, shapes))


def _estimate_index_work(context: RunContext) -> WorkItems:
    """Representations, and sketches with their directions, of each index that is not there."""
    costs = estimate_index_costs(context)
    return WorkItems(sum(cost.forwards for cost in costs), sum(cost.gradients for cost in costs))


def _estimate_factor_work(context: RunContext, examples: int, rows_per_example: int) -> WorkItems:
    """A gradient for each root row that passes by, and the products of a kernel."""
    products = (
        estimate_solver_cost(context).factor_products * len(context.members) if examples else 0
    )
    return WorkItems(gradients=rows_per_example * examples, products=products)


def count_factor_examples(context: RunContext) -> int:
    """Examples that factoring takes gradients (or products) of; 0 for a solver without a factor."""
    return estimate_solver_cost(context).factor_examples


def _count_examples_per_shard(context: RunContext) -> int:
    """Examples that solving one shard takes; each once where one sweep gives every score."""
    cost = estimate_solver_cost(context)
    return len(context.train_texts) if cost.scores_in_one_sweep else cost.solve_examples


def count_certificate_examples(context: RunContext) -> float:
    """Examples that the certificates of one shard take: the control sample, and the residual's."""
    return _count_control_examples(context) + _count_residual_examples(context)


def _count_certificate_gradients(context: RunContext, rows_per_example: int) -> float:
    """The residual takes all root rows of an example, the control sample its one gradient."""
    return _count_control_examples(context) + rows_per_example * _count_residual_examples(context)


def _count_control_examples(context: RunContext) -> int:
    return min(len(context.train_texts), CONTROL_SIZE)


def _count_residual_examples(context: RunContext) -> float:
    rows, certificate_rows = len(context.train_texts), context.study.certificate.rows
    if certificate_rows == 0 or count_curvature_rows(context) == rows:
        return 0
    if context.study.curvature.kind == "hessian":
        return rows if certificate_rows >= rows else 0
    return rows if certificate_rows >= rows else 1.5 * certificate_rows


def _list_full_scans(context: RunContext) -> list[int]:
    """Queries that are scanned in full at once: to choose k, to tell what the candidates miss."""
    check = context.candidates.checked_queries
    for_k = [max(check, MIN_QUERIES)] if is_k_pending(context) else []
    queries = len(context.query_texts)
    return [min(count, queries) for count in (*for_k, check) if count]


def _count_retraining_examples(context: RunContext) -> int:
    """Examples that are trained on, epoch by epoch, to choose the damping."""
    training = context.study.training
    return HALVES * training.epochs * (len(context.train_texts) // 2) if training else 0
