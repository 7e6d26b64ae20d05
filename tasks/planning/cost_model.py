"""How many examples each stage of an audit takes; no clock is asked for it."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import fastif
from fastif.attribution.control_sample import CONTROL
from fastif.evaluation.select_damping import HALVES
from fastif.evaluation.select_k import AT, ladder
from storage import Shard, Store, StoreError
from tasks.planning.calibration import Rates
from tasks.planning.memory import (
    columns,
    curvature_rows,
    dimensions_of,
    root_rows,
)
from tasks.run.k_selection import MIN_ASKED, target_of
from tasks.run.sketches import pending
from tasks.run.spec import TRAIN
from tasks.study.sections import (
    AnyCandidates,
    AnyMethod,
    FullScan,
    Knn,
    Sketches,
)

if TYPE_CHECKING:  # a job is planned by its work while it is made
    from tasks.run.context import Job

SWEEPS_OF_CG = 50
"""A guess: how many conjugate gradient takes depends on the spectrum, which is not known yet."""
SWEEPS_OF_LOW_RANK, SWEEPS_OF_SCALE, STEPS_OF_LISSA, KERNEL_COLUMNS = 7, 8, 1000, 64
"""Guesses likewise; and the columns that a low-rank kernel takes at once."""
SWEEPS_OF_LEAST = 100
"""Products that tell the least eigenvalue of a Hessian; 200 at most."""
FIT_OF_EKFAC = 3
"""Sweeps that it costs: two passes, and the eigenvectors."""
SWEEPS_OF_DRAWN = 2
"""Likewise of a kernel of drawn rows: one to draw them, and they are few."""
TRAINING_STEP = 3
"""Forward passes that a step of training costs."""
GUESSED_PART, ENOUGH = 10, 2
"""A tenth of the rows stands for a k that is yet to be chosen. Sketches have taken fewer on large
tables: the first k that is tried with room for twice the rows that are to be found."""
UNLIKE = {"sketch": 0.6, "knn": 0.85}
"""The candidates of q queries are as many as those of q to this power that have none in common. On
3,500 rows of the example 60 queries had 0.64 and 0.45 of the rows at k = 10 and 5 % by sketches
(0.71 and 0.45 by this power), 0.81 by nearest rows at 5 %."""
DAMPING = "damping"
"""The stage that trains other models, with hidden states of their own."""


@dataclass(frozen=True)
class Work:
    """What a stage does, in examples.

    Attributes:
        forwards: training rows that pass forward, above the frozen layers.
        gradients: gradients of training rows.
        products: of a training row's gradient with a query's row.
        asked: gradients of queries.
    """

    forwards: float = 0.0
    gradients: float = 0.0
    products: float = 0.0
    asked: float = 0.0

    def seconds(self, rates: Rates) -> float:
        """What it takes at these rates."""
        gradients = (self.gradients + self.asked) * rates.gradient
        return self.forwards * rates.forward + gradients + self.products * rates.product


def work_of(job: "Job", shards: Sequence[Shard]) -> dict[str, Work]:
    """Each stage that is still to be done, with the missing `shards`; in order."""
    rows, (missing, queries) = len(job.train_texts), to_answer(job, shards)
    there, models, rescored = prepared(job), len(job.members), not job.by_sketches
    scans = _scans(job) if missing and job.carried is None else []
    described = rows if job.carried is None else len(job.carried.fresh_train)
    solves = missing and (rescored or scans)
    factored = sum(factor_examples(m) for m in job.members if m.factor_digest not in there)
    known, asked = scores_are_known(job), models * queries
    rooted = columns(job) if job.study.curvature.kind == "gauss-newton" else 1
    solved, checked = rooted * _solved_examples(job), _certified_gradients(job, rooted)
    halves = _retrained_examples(job) if missing and job.fixed_or_chosen is None else 0
    each = models * rescored

    def shared(examples: float, times: float = 1) -> Work:
        """Each shard takes these gradients, and multiplies them with its queries."""
        return Work(gradients=each * missing * examples, products=each * times * queries * examples)

    solve, none = shared(solved), Work()
    scanned = models * (solved if known else rows + solved)
    return {
        DAMPING: Work(halves * TRAINING_STEP),
        "predictions": Work(described * ("train" not in there)),
        "index": _indexing(job, there) if missing else Work(),
        "curvature": _factoring(job, factored, rooted) if solves else Work(),
        "solve": Work(0, solve.gradients, solve.products, asked),
        "certificate": none if known else shared(checked, times=2),
        "score": none if known else shared(_distinct(job), times=_product_share(job)),
        "recall": Work(gradients=len(scans) * scanned, products=sum(scans) * scanned),
    }


def to_answer(job: "Job", shards: Sequence[Shard]) -> tuple[int, int]:
    """Shards with queries that are not an earlier night's, and how many such queries."""
    carried = job.carried
    if carried is None:
        return len(shards), sum(map(len, shards))
    each = [int((carried.queries[one.start : one.stop] < 0).sum()) for one in shards]
    return sum(map(bool, each)), sum(each)


def passes(job: "Job", work: dict[str, Work]) -> float:
    """How often a model's frozen layers are asked for each training row, on average."""
    visits = sum(one.forwards + one.gradients for name, one in work.items() if name != DAMPING)
    return visits / len(job.train_texts) / len(job.members)


def kept_scores(candidates: AnyCandidates, rows: int) -> int:
    """Scores of one query that are kept; a guess where k is yet to be chosen."""
    if isinstance(candidates, FullScan):
        return 2 * candidates.keep
    return sum(_width(method, rows) for method in candidates.methods)


def unchosen(job: "Job") -> bool:
    """Whether k is yet to be chosen."""
    return target_of(job.study.candidates) is not None and job.candidate_choice is None


def prepared(job: "Job") -> set[str]:
    """What earlier runs left ready: the training table, the index, factors by their digest."""
    try:
        store = job.store
    except StoreError:
        return set()
    found = {"train"} if _is_described(store, job.plan.record.run) else set()
    found |= {digest for digest in job.index_digests if store.part("index", digest)}
    digests = {member.factor_digest for member in job.members}
    return found | {digest for digest in digests if store.part("factor", digest)}


def _is_described(store: Store, run: str) -> bool:
    try:
        return store.is_done(run, TRAIN)
    except StoreError:
        return False  # it is not begun; parts of other runs may be there all the same


def _distinct(job: "Job") -> float:
    """Distinct candidates of a shard; queries share them, as if fewer had drawn them at random."""
    rows, shard = len(job.train_texts), min(job.plan.record.shard_size, len(job.query_texts))
    if isinstance(job.candidates, FullScan):
        return rows
    unseen = 1.0
    for method in job.candidates.methods:
        share = min(1.0, _width(method, rows) / rows)
        unseen *= (1 - share) ** (shard ** UNLIKE[method.kind])
    return rows * (1 - unseen)


def _product_share(job: "Job") -> float:
    """What a product of a training row with a query takes of one in full, if queries have a rank.

    A linear layer of i inputs and o outputs takes tokens x rank x (i + o) multiplications, not i o.
    """
    rank = job.candidates.rank if isinstance(job.candidates, FullScan) else None
    if rank is None:
        return 1.0
    sides = [shape for shape in job.objective.space.shapes if len(shape) == 2]
    tokens = float(job.train_texts.lengths.double().mean())
    # A layer that is no wider than the rank is multiplied whole.
    taken = (tokens * rank * sum(s) if rank < min(s) else math.prod(s) for s in sides)
    return sum(taken) / sum(map(math.prod, sides))


def _width(method: AnyMethod, rows: int) -> int:
    """Candidates of one query; a guess where k is yet to be chosen."""
    most = -(-rows // GUESSED_PART)
    if method.k is not None or isinstance(method, Knn):
        return method.k or most
    return min([k for k in ladder(rows) if k >= ENOUGH * AT] + [most])


def _indexing(job: "Job", there: Collection[str]) -> Work:
    """Representations, and sketches with their directions, of each index that is not there."""
    pairs = list(zip(job.study.candidates.methods, job.index_digests, strict=True))
    embedded = sum(isinstance(one, Knn) and digest not in there for one, digest in pairs)
    sketched = [sketching(job, one, digest) for one, digest in pairs if isinstance(one, Sketches)]
    return Work(
        len(job.train_texts) * embedded + sum(one.forwards for one in sketched),
        sum(one.gradients for one in sketched),
    )


def sketching(job: "Job", method: Sketches, digest: str) -> Work:
    """To find a method's directions, unless it has them of an earlier table, and sketch new rows.

    The root rows are drawn in a forward pass, and then taken twice.
    """
    left = pending(job, method, digest)
    if left.fitted:
        return Work(gradients=left.rows)
    taken = 2 * dimensions_of(job, method)
    return Work(curvature_rows(job), left.rows + taken)


def _factoring(job: "Job", examples: int, rooted: int) -> Work:
    """A gradient for each root row that passes by; half of a kernel's products, it is symmetric."""
    whole_kernel = isinstance(job.study.solver, fastif.Dual) and job.study.solver.rank is None
    products = root_rows(job) ** 2 / 2 * len(job.members) if examples and whole_kernel else 0
    return Work(gradients=rooted * examples, products=products)


def factor_examples(job: "Job") -> int:
    """Examples that factoring takes gradients (or products) of; 0 for a solver without a factor."""
    solver = job.study.solver
    if isinstance(solver, fastif.Direct):
        return curvature_rows(job) * -(-job.objective.space.size // 64)
    rows, batch = curvature_rows(job), job.study.run.batch_size
    if job.study.curvature.kind == "hessian":
        return rows * (_factor_sweeps(solver, root_rows(job)) + SWEEPS_OF_LEAST)
    if not isinstance(solver, fastif.Dual) or solver.rank is not None:
        return rows * _factor_sweeps(solver, root_rows(job))
    held = max(1, solver.block_rows // batch) * batch
    return sum(rows - start for start in range(0, rows, held))


def _factor_sweeps(solver: fastif.Solver, rooted: int) -> int:
    """Passes over the curvature's rows; how many a scale takes to be found is a guess."""
    if isinstance(solver, fastif.Dual):
        return 2 + min(solver.rank or 0, rooted) // KERNEL_COLUMNS
    if isinstance(solver, fastif.Spectral):
        return FIT_OF_EKFAC
    if not isinstance(solver, fastif.ConjugateGradient | fastif.Lissa):
        return 0
    scale = SWEEPS_OF_SCALE if isinstance(solver, fastif.Lissa) and solver.scale == "auto" else 0
    sweeps = {"none": 0, "eigen": 2, "ekfac": FIT_OF_EKFAC, "drawn": SWEEPS_OF_DRAWN}
    return scale + sweeps[solver.preconditioner]


def _solved_examples(job: "Job") -> int:
    """Examples that solving one shard takes; each once where one sweep gives every score."""
    return len(job.train_texts) if scores_are_known(job) else solve_examples(job)


def solve_examples(job: "Job") -> int:
    """Gradients (or Hessian products of one example) that solving one shard takes."""
    solver, rows = job.study.solver, curvature_rows(job)
    if isinstance(solver, fastif.Dual):
        return (3 if solver.rank is None else SWEEPS_OF_LOW_RANK) * rows
    if isinstance(solver, fastif.Lissa):
        expected = min(solver.max_steps, STEPS_OF_LISSA)
        depth = expected if solver.depth == "auto" else solver.depth
        return depth * solver.repeats * solver.batch + rows
    if not isinstance(solver, fastif.ConjugateGradient):
        return rows
    sweeps = min(solver.max_steps, SWEEPS_OF_CG, job.objective.space.size)
    return rows * (-(-sweeps // 5) if solver.preconditioner in ("eigen", "drawn") else sweeps)


def scores_are_known(job: "Job") -> bool:
    """Whether one sweep gives every score, and what there is of evidence."""
    solver = job.study.solver
    whole = curvature_rows(job) == len(job.train_texts)
    return isinstance(solver, fastif.Dual) and solver.rank is None and whole


def certified_examples(job: "Job") -> float:
    """Examples that the certificates of one shard take: the control sample, and the residual's."""
    return _control_examples(job) + _residual_examples(job)


def _certified_gradients(job: "Job", rooted: int) -> float:
    """The residual takes all root rows of an example, the control sample its one gradient."""
    return _control_examples(job) + rooted * _residual_examples(job)


def _control_examples(job: "Job") -> int:
    return min(len(job.train_texts), CONTROL)


def _residual_examples(job: "Job") -> float:
    rows, asked = len(job.train_texts), job.study.certificate.rows
    if asked == 0 or curvature_rows(job) == rows:
        return 0
    if job.study.curvature.kind == "hessian":
        return rows if asked >= rows else 0
    return rows if asked >= rows else 1.5 * asked


def _scans(job: "Job") -> list[int]:
    """Queries that are scanned in full at once: to choose k, to tell what the candidates miss."""
    check = 0 if isinstance(job.candidates, FullScan) else job.candidates.check
    before, queries = [max(check, MIN_ASKED)] if unchosen(job) else [], len(job.query_texts)
    return [min(asked, queries) for asked in (*before, check) if asked]


def _retrained_examples(job: "Job") -> int:
    """Examples that are trained on, epoch by epoch, to choose the damping."""
    training = job.study.training
    return HALVES * training.epochs * (len(job.train_texts) // 2) if training else 0
