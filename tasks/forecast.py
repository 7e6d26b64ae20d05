"""What an audit will cost, from a short calibration on the study's own model and rows."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

import fastif
from fastif.control import CONTROL
from fastif.damping import HALVES
from storage import Shard, StoreError
from tasks.chosen_k import target_of
from tasks.disk import added_bytes
from tasks.footprint import curvature_rows, memory, root_rows, sizes_of
from tasks.hidden import recomputed_share, states_to_compute
from tasks.job import Job
from tasks.plan import TRAIN, Plan
from tasks.recall import MIN_ASKED
from tasks.sections import FullScan, Knn, Sketches
from tasks.study import AnyCandidates

CALIBRATION_QUERIES = 16
SWEEPS_OF_CG = 50
"""A guess: how many conjugate gradient takes depends on the spectrum, which is not known yet."""
SWEEPS_OF_LOW_RANK, SWEEPS_OF_SCALE, STEPS_OF_LISSA, KERNEL_COLUMNS = 7, 8, 1000, 64
"""Guesses likewise; and the columns that a low-rank kernel takes at once."""
FIT_OF_EKFAC = 3
"""Sweeps that it costs: two passes, and the eigenvectors."""
SWEEPS_OF_DRAWN = 2
"""Likewise of a kernel of drawn rows: one to draw them, and they are few."""
TRAINING_STEP = 3
"""Forward passes that a step of training costs."""
GUESSED_PART = 10
"""A tenth of the rows stands for a k that is yet to be chosen."""
OF_SHARDS = ("solve", "certificate", "score")
"""Stages that every shard goes through."""


@dataclass(frozen=True)
class Forecast:
    """Seconds, memory and bytes that an audit is expected to take from here.

    Attributes:
        stages: seconds of each stage, in order.
        memory: peak bytes of the process.
        disk: bytes added to the store.
        guessed_k: what was taken for k, where it is yet to be chosen.
    """

    shards: int
    queries: int
    pairs: int
    stages: dict[str, float]
    memory: int
    disk: int
    guessed_k: int | None = None

    @property
    def seconds(self) -> float:
        """The sum of the stages."""
        return sum(self.stages.values())

    @property
    def compared(self) -> dict[str, float]:
        """The stages as they can be measured: what is done shard by shard is one."""
        parts = sum(self.stages[name] for name in OF_SHARDS)
        others = {name: time for name, time in self.stages.items() if name not in OF_SHARDS}
        return others | {"shards": parts}

    def __str__(self) -> str:
        """One line for a log."""
        return (
            f"forecast: about {self.seconds:.0f} s, {self.memory / 2**30:.1f} GB of memory, "
            f"{self.disk / 1e6:.1f} MB on disk"
        )


@dataclass(frozen=True)
class Rates:
    """Seconds an example, measured: frozen part, forward, one gradient; and a product a query."""

    prefix: float
    forward: float
    gradient: float
    product: float

    def with_prefix(self, share: float) -> "Rates":
        """The same if for this share of examples the frozen part is computed each time."""
        more = share * self.prefix
        return replace(self, forward=self.forward + more, gradient=self.gradient + more)


def factor_examples(job: Job) -> int:
    """Examples that factoring takes gradients (or products) of; 0 for a solver without a factor."""
    solver = job.study.solver
    if isinstance(solver, fastif.Direct):
        return curvature_rows(job) * -(-job.objective.space.size // 64)
    rows, batch = curvature_rows(job), job.study.run.batch_size
    if not isinstance(solver, fastif.Dual) or solver.rank is not None:
        return rows * _factor_sweeps(solver)
    held = max(1, solver.block_rows // batch) * batch
    return sum(min(held, rows - start) + rows - start for start in range(0, rows, held))


def _factor_sweeps(solver: fastif.Solver) -> int:
    """Passes over the curvature's rows; how many a scale takes to be found is a guess."""
    if isinstance(solver, fastif.Dual):
        return 2 + (solver.rank or 0) // KERNEL_COLUMNS
    if isinstance(solver, fastif.Spectral):
        return FIT_OF_EKFAC
    if not isinstance(solver, fastif.ConjugateGradient | fastif.Lissa):
        return 0
    scale = SWEEPS_OF_SCALE if isinstance(solver, fastif.Lissa) and solver.scale == "auto" else 0
    sweeps = {"none": 0, "eigen": 2, "ekfac": FIT_OF_EKFAC, "drawn": SWEEPS_OF_DRAWN}
    return scale + sweeps[solver.preconditioner]


def forecast(job: Job, shards: Sequence[Shard]) -> Forecast:
    """Forecast the missing `shards` and what has to be prepared for them."""
    rates = calibrate(job).with_prefix(recomputed_share(job))
    study, rows, models = job.study, len(job.train_texts), len(job.members)
    missing, queries = len(shards), sum(map(len, shards))
    full = isinstance(job.candidates, FullScan)
    kept = _kept(job.candidates, rows)
    # Distinct candidates of a shard as if drawn at random; near queries share more of them.
    unseen = 0.0 if full else (1 - min(1.0, kept / rows)) ** job.plan.record.shard_size
    distinct = rows * (1 - unseen)
    there = _prepared(job)
    pairs = zip(study.candidates.methods, job.index_digests, strict=True)
    made = [method for method, digest in pairs if missing and digest not in there]
    described, embedded = "train" not in there, sum(isinstance(method, Knn) for method in made)
    sketched = [method for method in made if isinstance(method, Sketches)]
    factored = sum(factor_examples(m) for m in job.members if m.factor_digest not in there)
    hidden = states_to_compute(job) * rates.prefix
    solved, checked = _solve_examples(job), _certified_examples(job)

    def shared(examples: float) -> float:
        """Each shard takes these gradients, and multiplies them with its queries."""
        return missing * examples * rates.gradient + queries * examples * rates.product

    rescored = not job.by_sketches
    scans = _scans(job) if missing else []
    solves = missing and (rescored or scans)
    scan = sum((rows + solved) * (rates.gradient + asked * rates.product) for asked in scans)
    halves = _retrained_examples(job) if missing and job.fixed_or_chosen is None else 0
    stages = {
        "damping": halves * TRAINING_STEP * rates.forward,
        "hidden states": hidden if missing else 0.0,
        "predictions": rows * rates.forward * described,
        "index": rows * rates.forward * embedded + _sketching(job, sketched, rates),
        "curvature": factored * rates.gradient if solves else 0.0,
        "solve": models * (shared(solved) * rescored + queries * rates.gradient),
        "certificate": models * (shared(checked) + queries * checked * rates.product) * rescored,
        "score": models * shared(distinct) * rescored,
        "recall": models * scan,
    }
    return Forecast(
        shards=missing,
        queries=queries,
        pairs=queries * min(kept, rows),
        stages=stages,
        memory=memory(job, sizes_of(job)),
        disk=added_bytes(job, queries * min(kept, rows), there) if missing else 0,
        guessed_k=kept if unchosen(job) else None,
    )


def _sketching(job: Job, methods: Sequence[Sketches], rates: Rates) -> float:
    """Seconds to find each method's directions, unless it has them of an earlier table, and rows.

    The root rows are drawn in a forward pass, and then taken twice.
    """
    drawn, rows = curvature_rows(job), len(job.train_texts)
    taken = sum(rows + 2 * min(method.dimensions, root_rows(job)) for method in methods)
    return len(methods) * drawn * rates.forward + taken * rates.gradient


def _kept(candidates: AnyCandidates, rows: int) -> int:
    """Scores of one query that are kept; a guess where k is yet to be chosen."""
    if isinstance(candidates, FullScan):
        return 2 * candidates.keep
    return sum(method.k or -(-rows // GUESSED_PART) for method in candidates.methods)


def _scans(job: Job) -> list[int]:
    """Queries that are scanned in full at once: to choose k, to tell what the candidates miss."""
    check = 0 if isinstance(job.candidates, FullScan) else job.candidates.check
    before = [max(check, MIN_ASKED)] if unchosen(job) else []
    return before + ([check] if check else [])


def unchosen(job: Job) -> bool:
    """Whether k is yet to be chosen."""
    return target_of(job.study.candidates) is not None and job.candidate_choice is None


def _retrained_examples(job: Job) -> int:
    """Examples that are trained on, epoch by epoch, to choose the damping."""
    training = job.study.training
    return HALVES * training.epochs * (len(job.train_texts) // 2) if training else 0


def _prepared(job: Job) -> set[str]:
    """What earlier runs left ready: the training table, the index, factors by their digest."""
    try:
        store = job.store
        store.record(job.plan.record.run)
    except StoreError:
        return set()
    found = {"train"} if store.is_done(job.plan.record.run, TRAIN) else set()
    found |= {digest for digest in job.index_digests if store.part("index", digest)}
    digests = {member.factor_digest for member in job.members}
    return found | {digest for digest in digests if store.part("factor", digest)}


def calibrate(job: Job) -> Rates:
    """Time each kind of work on a few of the study's own rows."""
    objective, batch_size = job.objective, job.study.run.batch_size
    lengths = job.train_texts.lengths
    ids = lengths.argsort()[:: max(1, len(lengths) // batch_size)][:batch_size]
    tokens = job.train_texts.take(ids)
    batch = objective.prefix(tokens)
    gradients = fastif.Gradients(objective)
    tile = gradients.of_losses(batch)
    rows = torch.zeros(CALIBRATION_QUERIES, objective.space.size, device=objective.like.device)
    count = len(ids)
    with torch.no_grad():
        prefix = _seconds(lambda: objective.prefix(tokens)) / count
        forward = _seconds(lambda: objective.outputs(objective.params, batch)) / count
    return Rates(
        prefix,
        forward,
        _seconds(lambda: gradients.of_losses(batch)) / count,
        _seconds(lambda: tile.times(rows)) / count / CALIBRATION_QUERIES,
    )


def draw(found: Forecast, plan: Plan) -> RenderableType:
    """The forecast for a terminal."""
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(style="bold")
    table.add_column(justify="right")
    record = plan.record
    done = len(record.shards()) - found.shards
    table.add_row("run", record.run)
    table.add_row("training rows", f"{record.train_rows:,}")
    table.add_row("shards to compute", f"{found.shards} of {len(record.shards())} ({done} kept)")
    table.add_row("queries to attribute", f"{found.queries:,}")
    if plan.sizes:
        table.add_row("sizes", plan.sizes)
    table.add_row("scored pairs", f"{found.pairs:,}")
    if found.guessed_k is not None:
        table.add_row("candidates", f"k is not chosen yet; as if it were {found.guessed_k:,}")
    for name, seconds in found.stages.items():
        table.add_row(f"  {name}", f"{seconds:.0f} s")
    table.add_row("time", f"about {found.seconds:.0f} s, and up to 20 s for Prefect to start")
    table.add_row("peak memory", f"about {found.memory / 2**30:.1f} GB")
    table.add_row("written", Text(f"about {found.disk / 1e6:.1f} MB to {plan.store_path}"))
    note = "Nothing was written. Times come from a calibration of a second on your own rows."
    return Panel(Group(table, note), title="forecast", title_align="left")


def _seconds(work: Callable[[], object], times: int = 3) -> float:
    work()
    start = time.perf_counter()
    for _ in range(times):
        work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # kernels are queued; wait until they are done
    return (time.perf_counter() - start) / times


def _solve_examples(job: Job) -> int:
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
    sweeps = min(solver.max_steps, SWEEPS_OF_CG)
    return rows * (-(-sweeps // 5) if solver.preconditioner in ("eigen", "drawn") else sweeps)


def _certified_examples(job: Job) -> float:
    """Gradients that the certificates of one shard take: the control sample, and the residual's."""
    rows, asked = len(job.train_texts), job.study.certificate.rows
    control = min(rows, CONTROL)
    if asked == 0 or curvature_rows(job) == rows:
        return control
    if job.study.curvature.kind == "hessian":
        return control + (rows if asked >= rows else 0)
    return control + (rows if asked >= rows else 1.5 * asked)
