"""Workload: the sizes of a run by which it is planned, and what of it is there already."""

from collections.abc import Sequence
from dataclasses import dataclass

import fastif
from fastif.solvers import Solver
from fastif.solvers.cost import SolverCost, SolverProblem
from storage import Shard, Store, StoreError
from tasks.data.dataset import Table
from tasks.models.hidden_state_cache import count_bytes_per_token
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


@dataclass(frozen=True)
class TableSize:
    """A table: its rows, the tokens that a model reads of them, and the characters of its texts."""

    rows: int
    tokens: int
    characters: int


@dataclass(frozen=True)
class ModelSize:
    """The models, which are alike.

    Attributes:
        count: how many there are.
        nbytes: memory of the parameters of one.
        token_bytes: of the hidden state of a token where frozen layers are cut off; 0 if none are.
        layer_shapes: of the attributed matrices, outputs x inputs.
        embedding_width: numbers of a representation.
    """

    count: int
    nbytes: int
    token_bytes: int
    layer_shapes: tuple[tuple[int, ...], ...]
    embedding_width: int


@dataclass(frozen=True)
class Sizes:
    """What memory depends on; the keys of `[run]` of the same names."""

    shard_size: int
    batch_size: int
    prefix_cache_mb: int


@dataclass(frozen=True)
class Remaining:
    """What is yet to be answered.

    Attributes:
        planned_shards: of the whole run.
        shards, queries: that have no answer in this run.
        new_shards, new_queries: those of them that no earlier night answers.
        train_rows: training rows that no earlier night describes.
        is_continued: whether the run goes on from an earlier night.
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
    """What earlier runs left ready.

    Attributes:
        indices: what is missing of the index of each method that searches.
        missing_factors: models without a factor of their curvature.
        has_train_table: whether the training rows are described.
        has_damping, has_k: whether they are given or chosen.
    """

    indices: tuple[PendingIndex, ...] = ()
    missing_factors: int = 1
    has_train_table: bool = False
    has_damping: bool = True
    has_k: bool = True


@dataclass(frozen=True)
class HiddenStates:
    """Hidden states of the frozen layers: what is kept of them, and where.

    Attributes:
        to_compute: examples whose states are computed once, for memory or for a file.
        recomputed_share: of the training rows, those whose states are kept nowhere.
        unwritten_bytes: of the files that are yet to be written.
    """

    to_compute: int = 0
    recomputed_share: float = 0.0
    unwritten_bytes: int = 0


@dataclass(frozen=True)
class Workload:
    """All that work, memory and disk of a run are estimated from; made by `make_workload`.

    Attributes:
        solver: of the study.
        candidates: its section, with the k that was chosen.
        methods: those that search an index, whether or not the candidates still come from there.
        certificate_rows: rows that the residual is estimated on.
        training_epochs: of each training by which the damping is chosen; 0 if none is known.
        problem: n, m, p, root rows of an example and batch size, as a solver is told them.
        train, queries: the tables.
        model: the models.
        sizes: of shards, batches and hidden states in memory.
        remaining: what is yet to be answered.
        prepared: what is there.
        hidden: hidden states of the frozen layers.
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

    @property
    def solver_cost(self) -> SolverCost:
        """What the solver takes of one model, by its own account."""
        return self.solver.estimate_cost(self.problem)

    @property
    def index_costs(self) -> list[IndexCost]:
        """What the index of each method that searches takes, by its own account."""
        problem, width = self.problem, self.model.embedding_width
        return [
            method.estimate_index_cost(
                IndexProblem(problem.train, problem.rows, problem.factor_rows, width, pending)
            )
            for method, pending in zip(self.methods, self.prepared.indices, strict=True)
        ]

    @property
    def hidden_bytes(self) -> tuple[int, int]:
        """Of the hidden states of the training rows and of the queries, all models'."""
        token_bytes = self.model.count * self.model.token_bytes
        return self.train.tokens * token_bytes, self.queries.tokens * token_bytes


def make_workload(context: RunContext, shards: Sequence[Shard]) -> Workload:
    """The workload of a run of which these shards are missing; nothing is computed for it."""
    study, inputs = context.study, context.plan.inputs
    run = study.run
    return Workload(
        solver=study.solver,
        candidates=context.candidates,
        methods=study.candidates.methods,
        certificate_rows=study.certificate.rows,
        training_epochs=study.training.epochs if study.training else 0,
        problem=make_solver_problem(context),
        train=_measure_table(context.train_texts, inputs.train),
        queries=_measure_table(context.query_texts, inputs.queries),
        model=_measure_models(context),
        sizes=Sizes(context.plan.record.shard_size, run.batch_size, run.prefix_cache_mb),
        remaining=_count_remaining(context, shards),
        prepared=_find_prepared(context),
        hidden=HiddenStates(
            count_states_to_compute(context),
            compute_recomputed_share(context),
            count_unwritten_bytes(context),
        ),
    )


def make_solver_problem(context: RunContext) -> SolverProblem:
    """The sizes that the cost of the study's solver depends on."""
    train, curvature = len(context.train_texts), context.study.curvature
    return SolverProblem(
        train=train,
        rows=train if curvature.rows is None else min(curvature.rows, train),
        rows_per_example=(context.objective.full_model.config.num_labels or 2) - 1,
        parameters=context.objective.space.size,
        batch_size=context.study.run.batch_size,
        is_hessian=curvature.kind == "hessian",
    )


def count_factor_examples(context: RunContext) -> int:
    """Examples that factoring takes gradients (or products) of; 0 for a solver without a factor."""
    return context.study.solver.estimate_cost(make_solver_problem(context)).factor_examples


def _measure_table(texts: fastif.TextExamples, table: Table) -> TableSize:
    characters = sum(len(text) for text in (*table.texts, *(table.text_pairs or [])))
    return TableSize(len(texts), int(texts.lengths.sum()), characters)


def _measure_models(context: RunContext) -> ModelSize:
    objective = context.objective
    return ModelSize(
        count=len(context.members),
        nbytes=sum(tensor.nbytes for tensor in objective.full_model.parameters()),
        token_bytes=count_bytes_per_token(objective),
        layer_shapes=tuple(tuple(shape) for shape in objective.space.shapes if len(shape) == 2),
        embedding_width=objective.full_model.config.get_text_config().hidden_size,
    )


def _count_remaining(context: RunContext, shards: Sequence[Shard]) -> Remaining:
    planned, reuse = len(context.plan.record.list_shards()), get_reuse(context)
    missing, queries = len(shards), sum(map(len, shards))
    if reuse is None:
        return Remaining(planned, missing, queries, missing, queries, len(context.train_texts))
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
        has_damping=context.known_damping is not None,
        has_k=not is_k_pending or context.k_selection is not None,
    )


def _is_described(store: Store, run: str) -> bool:
    try:
        return store.is_committed(run, TRAIN)
    except StoreError:
        return False  # it is not begun; parts of other runs may be there all the same
