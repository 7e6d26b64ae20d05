"""Workload: the sizes from which a run is planned, and the artifacts that exist already."""

from collections.abc import Sequence
from dataclasses import dataclass

import fastif
from fastif.solvers import Solver
from fastif.solvers.cost import SolverCost, SolverProblem
from storage import Shard, Store, StoreError
from tasks.data.dataset import Table
from tasks.models.target_outputs import count_factor_columns
from tasks.planning.model_size import ModelSize, measure_models
from tasks.planning.sweep_size import SweepSize, measure_sweep
from tasks.run.artifact_keys import factor_digest, index_digests
from tasks.run.context import RunContext
from tasks.run.hidden_states import (
    compute_recomputed_share,
    count_states_to_compute,
    count_unwritten_bytes,
)
from tasks.run.index_kinds import INDEX_KINDS
from tasks.run.reuse import get_reuse
from tasks.run.spec import TRAIN
from tasks.study.candidate_section import CandidateSection, IndexSection
from tasks.study.index_cost import IndexCost, IndexProblem, PendingIndex
from tasks.study.target_kind import TAGS


@dataclass(frozen=True)
class TableSize:
    """Size of a table.

    Attributes:
        rows: Number of rows.
        tokens: Number of tokens after truncation.
        characters: Number of characters of its texts.
        longest: Number of tokens of its longest row.
    """

    rows: int
    tokens: int
    characters: int
    longest: int


@dataclass(frozen=True)
class Sizes:
    """Sizes that determine memory, with the meaning of the keys of `[run]`.

    Attributes:
        shard_size: Number of queries a shard.
        batch_size: Number of examples a batch.
        prefix_cache_mb: Memory for hidden states, in MB a table.
    """

    shard_size: int
    batch_size: int
    prefix_cache_mb: int


@dataclass(frozen=True)
class Remaining:
    """Work that remains to be done.

    Attributes:
        planned_shards: Number of shards of the whole run.
        shards, queries: Numbers not yet committed in this run.
        new_shards, new_queries: Numbers of those that no parent run has scored.
        train_rows: Number of training rows without predictions from a parent run.
        is_continued: Whether the run is incremental.
    """

    planned_shards: int
    shards: int
    queries: int
    new_shards: int
    new_queries: int
    train_rows: int
    is_continued: bool = False


@dataclass(frozen=True)
class Prepared:
    """Artifacts and commits that exist already.

    Attributes:
        indices: Missing rows of the index of each candidate method.
        missing_factors: Number of models without a factor of their curvature.
        has_train_table: Whether the training table is committed.
        has_damping, has_k: Whether the setting is set or selected.
    """

    indices: tuple[PendingIndex, ...] = ()
    missing_factors: int = 1
    has_train_table: bool = False
    has_damping: bool = True
    has_k: bool = True


@dataclass(frozen=True)
class HiddenStates:
    """Cached hidden states of the frozen layers.

    Attributes:
        to_compute: Number of examples to compute once, for memory or for a file.
        recomputed_share: Share of the training rows that are not cached, 0 to 1.
        unwritten_bytes: Bytes of the files that remain to be written.
    """

    to_compute: int = 0
    recomputed_share: float = 0.0
    unwritten_bytes: int = 0


@dataclass(frozen=True)
class Workload:
    """Sizes from which work, memory and disk of a run are estimated; see `make_workload`.

    Attributes:
        solver: Solver of the study.
        candidates: Section `[candidates]` with the selected k.
        methods: Candidate methods that search an index, used in the end or not.
        certificate_rows: Number of rows on which the residual is estimated.
        training_epochs: Epochs of each retraining that selects the damping; 0 if unknown.
        problem: Sizes on which the solver's cost depends: n, m, p, factor rows an example,
            batch size.
        train, queries: Sizes of the tables.
        model: Size of the models.
        sizes: Shard size, batch size and memory for hidden states.
        remaining: Work that remains to be done.
        prepared: Artifacts and commits that exist already.
        hidden: Cached hidden states of the frozen layers.
        sweep: Size of a sweep through the training; None if the study tries none.
    """

    solver: Solver
    candidates: CandidateSection
    methods: tuple[IndexSection, ...]
    certificate_rows: int
    training_epochs: int
    problem: SolverProblem
    train: TableSize
    queries: TableSize
    model: ModelSize
    sizes: Sizes
    remaining: Remaining
    prepared: Prepared
    hidden: HiddenStates = HiddenStates()
    sweep: SweepSize | None = None

    @property
    def is_unrolled(self) -> bool:
        """Whether every shard is a sweep through the training."""
        return self.sweep is not None and self.sweep.is_selected

    @property
    def solver_cost(self) -> SolverCost:
        """Cost of the solver for one model."""
        return self.solver.estimate_cost(self.problem)

    @property
    def index_costs(self) -> list[IndexCost]:
        """Cost of the index of each candidate method."""
        problem, width = self.problem, self.model.embedding_width
        return [
            method.estimate_index_cost(
                IndexProblem(problem.train, problem.rows, problem.factor_rows, width, pending)
            )
            for method, pending in zip(self.methods, self.prepared.indices, strict=True)
        ]

    @property
    def hidden_bytes(self) -> tuple[int, int]:
        """Bytes of the hidden states of training rows and of queries, over all models."""
        token_bytes = self.model.tried * self.model.token_bytes
        return self.train.tokens * token_bytes, self.queries.tokens * token_bytes


def make_workload(context: RunContext, shards: Sequence[Shard]) -> Workload:
    """Return the workload of a run with these missing shards; nothing is computed."""
    study, inputs = context.study, context.plan.inputs
    run = study.run
    return Workload(
        solver=context.solver,
        candidates=context.candidates,
        methods=study.candidates.methods,
        certificate_rows=study.certificate.rows,
        training_epochs=study.training.epochs if study.training else 0,
        problem=make_solver_problem(context),
        train=_measure_table(context.train_examples, inputs.train),
        queries=_measure_table(context.query_examples, inputs.queries),
        model=measure_models(context),
        sizes=Sizes(context.plan.record.shard_size, run.batch_size, run.prefix_cache_mb),
        remaining=_count_remaining(context, shards),
        prepared=_find_prepared(context),
        hidden=HiddenStates(
            count_states_to_compute(context),
            compute_recomputed_share(context),
            count_unwritten_bytes(context),
        ),
        sweep=measure_sweep(context),
    )


def make_solver_problem(context: RunContext) -> SolverProblem:
    """Return the sizes on which the cost of the study's solver depends."""
    train, curvature = len(context.train_examples), context.study.curvature
    return SolverProblem(
        train=train,
        rows=min(curvature.sample_size or train, train),
        rows_per_example=count_factor_columns(context.study) * _count_places(context),
        parameters=context.objective.space.size,
        batch_size=context.study.run.batch_size,
        is_hessian=curvature.kind == "hessian",
    )


def _count_places(context: RunContext) -> int:
    """Return the largest number of tagged sub-words of a training row; 1 for other targets."""
    labels = context.train_examples.labels
    return labels.shape[1] if context.study.target == TAGS else 1


def count_factor_examples(context: RunContext) -> int:
    """Return the number of examples in the factorization; 0 for solvers without a factor."""
    return context.solver.estimate_cost(make_solver_problem(context)).factor_examples


def _measure_table(examples: fastif.Examples, table: Table) -> TableSize:
    characters = sum(len(text) for text in (*table.texts, *(table.text_pairs or [])))
    lengths = examples.lengths
    return TableSize(len(examples), int(lengths.sum()), characters, int(lengths.max()))


def _count_remaining(context: RunContext, shards: Sequence[Shard]) -> Remaining:
    planned, reuse = len(context.plan.record.list_shards()), get_reuse(context)
    missing, queries = len(shards), sum(map(len, shards))
    if reuse is None:
        return Remaining(planned, missing, queries, missing, queries, len(context.train_examples))
    counts = [int((reuse.queries[shard.start : shard.stop] < 0).sum()) for shard in shards]
    new_shards, new_queries = sum(map(bool, counts)), sum(counts)
    return Remaining(
        planned, missing, queries, new_shards, new_queries, len(reuse.new_train), is_continued=True
    )


def _find_prepared(context: RunContext) -> Prepared:
    store, methods = context.existing_store, context.study.candidates.methods
    indices = [
        INDEX_KINDS[method.kind].find_pending(context, method, digest)
        for method, digest in zip(methods, index_digests(context), strict=True)
    ]
    has_factor = [
        store is not None and store.find_artifact("factor", factor_digest(member)) is not None
        for member in context.members
    ]
    is_k_pending = context.study.candidates.target_method is not None
    return Prepared(
        indices=tuple(indices),
        missing_factors=has_factor.count(False),
        has_train_table=store is not None and _is_described(store, context.plan.record.run),
        has_damping=context.known_damping is not None and not context.lacks_estimator,
        has_k=not is_k_pending or context.k_selection is not None,
    )


def _is_described(store: Store, run: str) -> bool:
    try:
        return store.is_committed(run, TRAIN)
    except StoreError:
        return False  # not started, although artifacts of other runs may exist
