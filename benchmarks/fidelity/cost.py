"""What every solver costs on an encoder, at the same residual: seconds, memory and sweeps."""

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
"""The goals: sweeps with a preconditioner, plain sweeps over these, EK-FAC's time a query."""

BATCH = 32


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        rows: training rows of the workload.
        queries: right-hand sides that are solved together.
        dual: curvature rows of the two dual solvers, whose matrix is rows x rows.
        iterative: curvature rows of all others. A sample, and not all rows, bounds the seconds of a
            sweep; if both numbers are the same, so is the matrix that is inverted.
        damping, tolerance: λ, and the relative residual that is asked of every solver.
        rank: columns of the low-rank dual; eigen, drawn: eigenpairs or root rows of the
            preconditioner.
        plain, preconditioned, lissa: steps at most.
        repeats: of the timing of EK-FAC's inverse, the median of which counts.
        threads: while EK-FAC's inverse is timed.
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
"""The same at a tenth of the damping, where the spectrum asks more of conjugate gradients."""

QUICK = Sizes(
    rows=64, queries=2, dual=32, iterative=16, rank=16, eigen=8, drawn=8, plain=30,
    preconditioned=10, lissa=20, repeats=1,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class CountedOperator(DampedOperator):
    """A + λI that notes how many rows each product was taken of."""

    products: list[int] = field(default_factory=list)

    def apply(self, vectors: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
        self.products.append(len(vectors))
        return super().apply(vectors)


@dataclass(frozen=True)
class Trial:
    """One solver on the curvature of so many rows.

    Attributes:
        examples: training rows that one of its steps takes; None if that is all of them.
    """

    name: str
    solver: Solver
    rows: int
    examples: int | None = None


def cost(data: Path, sizes: Sizes = FULL) -> dict:
    """Seconds, memory and sweeps of every solver on SST-2 and MiniLM, and the goals that were set.

    Args:
        data: the folder with sst2/train.parquet and sst2/dev.parquet.
        sizes: how much is measured.
    """
    workload = Sst2(data, rows=sizes.rows, queries=sizes.queries)
    return measure_cost(workload.train_model(0), workload.train, workload.query_examples, sizes)


def measure_cost(
    objective: fastif.Objective,
    train: fastif.Examples,
    query_examples: fastif.Examples,
    sizes: Sizes,
) -> dict:
    """The same of any objective."""
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
    """Sweeps over the curvature's rows until all queries were done, and the median one.

    CG multiplies only the rows that are still moving, which tells when each of them stopped: the
    median row after as many products as had more than half of them.
    """
    steps = solution.steps
    if isinstance(trial.solver, fastif.ConjugateGradient):
        half = len(solution.residual) / 2
        return {"all": steps, "median": sum(q > half for q in operator.products[:steps])}
    sweeps = steps if trial.examples is None else steps * trial.examples / count
    return {"all": sweeps, "median": sweeps}


def _ekfac_seconds(operator: CountedOperator, queries: Tensor, sizes: Sizes) -> float:
    """Of EK-FAC's inverse alone, a query."""
    assert isinstance(operator.operator, fastif.GaussNewton)  # as _operator has made it
    ekfac = fastif.Ekfac.fit(operator.operator)
    with _threads(sizes.threads):
        seconds = [
            _seconds(lambda: ekfac.apply_inverse(queries, operator.damping))
            for _ in range(sizes.repeats + 1)
        ]
    return median(seconds[1:]) / len(queries)  # the first one also fetches memory


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
    """At most so few sweeps where plain CG takes so many times as many, for all queries.

    Where plain CG gave up before all had reached the residual, its sweeps are a lower bound.
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
