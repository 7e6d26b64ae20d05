"""Cost of all solvers on an encoder at an equal residual: seconds, memory and sweeps."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import torch
from jaxtyping import Float
from torch import Tensor

import fastif
from benchmarks.fidelity.convex import number
from benchmarks.fidelity.memory import MemoryMonitor
from benchmarks.fidelity.texts import Sst2
from fastif.curvature import DampedOperator
from fastif.gradients.per_example import compute_measure_gradients
from fastif.solvers import Solution, Solver

FEW_SWEEPS, TIMES_MORE, MILLISECONDS = 20, 5, 10
"""Goals: sweeps with a preconditioner, ratio to plain sweeps, milliseconds of EK-FAC a query."""

BATCH = 32


@dataclass(frozen=True)
class Sizes:
    """Sizes of the measurement.

    Attributes:
        rows: Number of training rows.
        queries: Number of right-hand sides solved together.
        dual: Number of curvature rows of the two dual solvers, whose kernel is rows x rows.
        iterative: Number of curvature rows of the other solvers. A sample bounds the seconds of a
            sweep. If it equals `dual`, all solvers invert one matrix.
        damping: Damping λ.
        tolerance: Relative residual at which the solvers stop.
        rank: Rank of the low-rank dual.
        eigen: Number of eigenpairs of the preconditioner.
        drawn: Number of sampled factor rows of the preconditioner.
        plain: Maximum number of steps of CG without a preconditioner.
        preconditioned: Maximum number of steps of preconditioned CG.
        lissa: Maximum number of steps of LiSSA.
        repeats: Number of timings of the EK-FAC inverse, whose median is reported.
        threads: Number of threads during these timings.
    """

    rows: int = 2_000
    queries: int = 64
    dual: int = 512
    iterative: int = 512
    damping: float = 0.1
    tolerance: float = 1e-2
    rank: int = 256
    eigen: int = 100
    drawn: int = 256
    plain: int = 60
    preconditioned: int = 40
    lissa: int = 200
    repeats: int = 3
    threads: int = 2


FULL = Sizes()
SMALL = Sizes(damping=0.01, plain=150)
"""Sizes at a tenth of the damping, where conjugate gradients need more steps."""

QUICK = Sizes(
    rows=64, queries=2, dual=32, iterative=16, rank=16, eigen=8, drawn=8, plain=30,
    preconditioned=10, lissa=20, repeats=1,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class CountedOperator(DampedOperator):
    """Damped operator A + λI that counts the vectors of each product."""

    products: list[int] = field(default_factory=list)

    def apply(self, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
        self.products.append(len(vectors))
        return super().apply(vectors)


@dataclass(frozen=True)
class Trial:
    """One solver with its number of curvature rows.

    Attributes:
        examples: Training rows of one step; None for all.
    """

    name: str
    solver: Solver
    rows: int
    examples: int | None = None


def cost(data: Path, sizes: Sizes = FULL) -> dict:
    """Return seconds, memory and sweeps of all solvers on SST-2 with MiniLM, and the goals.

    Args:
        data: Folder with sst2/train.parquet and sst2/dev.parquet.
        sizes: Sizes of the measurement.
    """
    workload = Sst2(data, rows=sizes.rows, queries=sizes.queries)
    return measure_cost(workload.train_model(0), workload.train, workload.query_examples, sizes)


def measure_cost(
    objective: fastif.Objective,
    train: fastif.Examples,
    query_examples: fastif.Examples,
    sizes: Sizes,
) -> dict:
    """Return the measurements for any objective."""
    gradients = fastif.Gradients(objective)
    queries = compute_measure_gradients(gradients, query_examples.with_batch_size(BATCH))
    lines = {t.name: _line(t, objective, train, queries, sizes) for t in trials(sizes)}
    alone = _ekfac_seconds(_operator(objective, train, sizes.iterative, sizes), queries, sizes)
    return {
        "problem": {
            "train_rows": len(train),
            "queries": len(queries),
            "parameters": objective.space.size,
            "damping": sizes.damping,
            "tolerance": sizes.tolerance,
            "threads": torch.get_num_threads(),
            "sizes": asdict(sizes),
            "note": _note(min(sizes.dual, len(train)), min(sizes.iterative, len(train))),
        },
        "solvers": list(lines.values()),
        "goals": _goals(lines, alone, sizes),
    }


def trials(sizes: Sizes) -> list[Trial]:
    """The solvers in the order of the table."""
    cg, few, tolerance = fastif.ConjugateGradient, sizes.iterative, sizes.tolerance
    most = sizes.preconditioned
    return [
        Trial("Dual", fastif.Dual(), sizes.dual),
        Trial("Dual, low rank", fastif.Dual(rank=sizes.rank), sizes.dual),
        Trial("CG", cg(tolerance, sizes.plain), few),
        Trial("CG, EK-FAC preconditioner", cg(tolerance, most, "ekfac"), few),
        Trial("CG, eigenvector preconditioner", cg(tolerance, most, "eigen", sizes.eigen), few),
        Trial("CG, sampled-row preconditioner", cg(tolerance, most, "drawn", sizes.drawn), few),
        Trial("EK-FAC alone", fastif.Spectral(tolerance=tolerance), few),
        Trial("LiSSA", fastif.Lissa(tolerance=tolerance, max_steps=sizes.lissa), few, 32),
    ]


def _note(dual: int, others: int) -> str:
    if dual == others:
        return f"Every solver inverts the curvature of the same fixed sample of {dual:,} rows."
    return (
        f"Dual inverts the curvature of {dual:,} rows, every other solver that of one fixed "
        f"sample of {others:,}."
    )


def _operator(
    objective: fastif.Objective, train: fastif.Examples, rows: int, sizes: Sizes
) -> CountedOperator:
    ids = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:rows]
    return CountedOperator(
        fastif.GaussNewton(objective, train.with_batch_size(BATCH), ids), sizes.damping
    )


def _line(
    trial: Trial,
    objective: fastif.Objective,
    train: fastif.Examples,
    queries: Tensor,
    sizes: Sizes,
) -> dict:
    operator = _operator(objective, train, trial.rows, sizes)
    with MemoryMonitor() as factoring:
        factor = trial.solver.factor(operator)
    operator.products.clear()
    with MemoryMonitor() as solving:
        solution = trial.solver.solve(operator, queries, factor)
    count = min(trial.rows, len(train))
    return {
        "name": trial.name,
        "settings": asdict(trial.solver),  # type: ignore[call-overload]
        "curvature_rows": count,
        "factor_seconds": factoring.seconds,
        "factor_megabytes": factoring.megabytes,
        "solve_seconds_per_query": solving.seconds / len(queries),
        "solve_megabytes": solving.megabytes,
        "sweeps": _sweeps(trial, operator, solution, count),
        "residual": {
            "median": number(solution.residual.median()),
            "most": number(solution.residual.max()),
        },
        "reached": int((solution.residual <= sizes.tolerance * 1.01).sum()),
    }


def _sweeps(trial: Trial, operator: CountedOperator, solution: Solution, count: int) -> dict:
    """Return the sweeps over the curvature rows until all queries, and the median one, converged.

    CG multiplies only the vectors that have not converged, so the counts of the products show when
    each of them stopped: the median one after as many products as had more than half of them.
    """
    steps = solution.steps
    if isinstance(trial.solver, fastif.ConjugateGradient):
        half = len(solution.residual) / 2
        return {"all": steps, "median": sum(q > half for q in operator.products[:steps])}
    sweeps = steps if trial.examples is None else steps * trial.examples / count
    return {"all": sweeps, "median": sweeps}


def _ekfac_seconds(operator: CountedOperator, queries: Tensor, sizes: Sizes) -> float:
    """Return the milliseconds of the EK-FAC inverse alone, a query."""
    assert isinstance(operator.operator, fastif.GaussNewton)  # from _operator
    ekfac = fastif.Ekfac.fit(operator.operator)
    with _threads(sizes.threads):
        seconds = [
            _seconds(lambda: ekfac.apply_inverse(queries, operator.damping))
            for _ in range(sizes.repeats + 1)
        ]
    return median(seconds[1:]) / len(queries)  # the first one also allocates memory


def _goals(lines: dict[str, dict], alone: float, sizes: Sizes) -> dict:
    plain = lines["CG"]
    goals = {
        kind: _compare(plain, lines[name], sizes.queries)
        for kind, name in (
            ("ekfac", "CG, EK-FAC preconditioner"),
            ("eigen", "CG, eigenvector preconditioner"),
            ("drawn", "CG, sampled-row preconditioner"),
        )
    }
    goals["ekfac_alone"] = {
        "milliseconds_per_query": 1000 * alone,
        "goal": MILLISECONDS,
        "threads": sizes.threads,
        "reached": 1000 * alone < MILLISECONDS,
    }
    return goals


def _compare(plain: dict, other: dict, queries: int) -> dict:
    """Return the goal for preconditioned sweeps and for their ratio to plain CG, over all queries.

    If plain CG stopped before all queries converged, its sweeps are a lower bound.
    """
    few, many = other["sweeps"]["all"], plain["sweeps"]["all"]
    there = other["reached"] == queries
    return {
        "sweeps": other["sweeps"],
        "plain_sweeps": plain["sweeps"],
        "plain_is_a_lower_bound": plain["reached"] < queries,
        "ratio": many / max(1, few),
        "ratio_median": plain["sweeps"]["median"] / max(1, other["sweeps"]["median"]),
        "goal": {"sweeps": FEW_SWEEPS, "ratio": TIMES_MORE},
        "reached": there and few <= FEW_SWEEPS and many >= TIMES_MORE * few,
    }


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
