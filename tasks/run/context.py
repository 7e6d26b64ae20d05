"""A study opened for computing: model, examples and curvature; what the tasks of a run share."""

from dataclasses import dataclass
from functools import cached_property

import torch

import fastif
from fastif.candidates import Search
from fastif.curvature import DampedOperator
from fastif.evaluation.select_damping import DampingSelection, find_clearly_worse
from fastif.evaluation.select_k import KSelection
from fastif.models.hidden_state_file import HiddenStateFile
from storage import Store, StoreError
from tasks.models.hidden_state_cache import cache_hidden_states
from tasks.models.provenance import Provenance, collect_provenance
from tasks.run import artifact_keys as digests
from tasks.run import hidden_states as hidden
from tasks.run.artifacts import read_factor, read_search
from tasks.run.k_selection import apply_k_selection, find_target_method, read_k_selection
from tasks.run.reuse import Reuse, find_reuse
from tasks.run.selections import read_damping_choice
from tasks.run.spec import RunPlan, open_existing_store
from tasks.runtime.stage_timer import STAGE_TIMER
from tasks.study.candidates import AnyCandidates
from tasks.study.methods import has_sketch_scores
from tasks.study.study import Study


@dataclass(frozen=True, eq=False)
class RunContext:
    """What the tasks of a run share, made by `tasks.planning.open_run`; none of it is written to.

    Attributes:
        plan: the run.
        objective: its model; the first of several.
        train_texts, query_texts: its tables, as tokens.
        model_digest: of the model.
        others: the same for the study's further models.
    """

    plan: RunPlan
    objective: fastif.TransformerObjective
    train_texts: fastif.TextExamples
    query_texts: fastif.TextExamples
    model_digest: str
    others: "tuple[RunContext, ...]" = ()

    @property
    def members(self) -> "tuple[RunContext, ...]":
        """This job and those of the further models."""
        return (self, *self.others)

    @property
    def study(self) -> Study:
        """The study file."""
        return self.plan.inputs.study

    @property
    def store(self) -> Store:
        """The store that the run is written to."""
        return open_existing_store(self.study)

    @cached_property
    def provenance(self) -> Provenance | None:
        """What the records beside its models say of the study; None where there is none."""
        inputs = self.plan.inputs
        models = [(m.model_digest, m.train_texts, m.query_texts) for m in self.members]
        return collect_provenance(inputs.study, inputs.train, models)

    @cached_property
    def reuse(self) -> Reuse | None:
        """What the run takes over from an earlier one; None if it begins from nothing."""
        return find_reuse(self)

    @cached_property
    def train(self) -> fastif.Examples:
        """The training set with its frozen part computed, as far as memory is allowed.

        As tokens where a run goes on by sketches: few rows are looked at then, each once.
        """
        if self.is_incremental_by_sketches:
            return self.train_texts
        return cache_hidden_states(
            self.objective, self.train_texts, self.study, self._open_hidden_file("train")
        )

    @cached_property
    def queries(self) -> fastif.Examples:
        """The queries, likewise; as tokens if several models read them."""
        if self.others or self.is_incremental_by_sketches:
            return self.query_texts
        return cache_hidden_states(
            self.objective, self.query_texts, self.study, self._open_hidden_file("queries")
        )

    def _open_hidden_file(self, table: hidden.TableName) -> HiddenStateFile | None:
        with STAGE_TIMER.stage("hidden states"):
            return hidden.open_hidden_file(self, table)

    @cached_property
    def operator(self) -> DampedOperator:
        """The damped curvature of the study."""
        return self.make_curvature(self.train, self.damping)

    @cached_property
    def damping(self) -> float:
        """The effective lambda: the study's, or the one that was chosen for it."""
        fixed = self.study.fixed_damping
        if fixed is not None:
            return fixed
        assert self.damping_choice is not None, "the damping is chosen before it is asked for"
        return self.damping_choice.effective_damping

    @property
    def known_damping(self) -> float | None:
        """The effective lambda, or None if it is yet to be chosen."""
        if self.study.fixed_damping is None and self.damping_choice is None:
            return None
        return self.damping

    @property
    def damping_choice(self) -> DampingSelection | None:
        """How the damping was chosen; None if the study gives it, or it is not chosen yet."""
        if self.study.fixed_damping is not None:
            return None
        try:
            return read_damping_choice(self.store, self.damping_digest)
        except StoreError:
            return None  # there is no store yet

    def make_curvature(self, train: fastif.Examples, damping: float) -> DampedOperator:
        """The curvature with this effective lambda, taking its examples from `train`."""
        if self.study.curvature.kind == "gauss-newton":
            return DampedOperator(self.make_gauss_newton(train), damping)
        size = self.study.run.batch_size
        ids = self._sample_curvature_rows(train)
        return DampedOperator(fastif.Hessian(self.objective, train, ids, batch_size=size), damping)

    def make_gauss_newton(self, train: fastif.Examples) -> fastif.GaussNewton:
        """The Gauss-Newton matrix over the curvature's rows."""
        size = self.study.run.batch_size
        return fastif.GaussNewton(
            self.objective, train, self._sample_curvature_rows(train), batch_size=size
        )

    def _sample_curvature_rows(self, train: fastif.Examples) -> torch.Tensor:
        curvature = self.study.curvature
        return sample_rows(len(train), curvature.rows, curvature.seed)

    @property
    def index_digests(self) -> tuple[str, ...]:
        """What the index of each method that searches depends on."""
        return tuple(digests.index_digest(self, method) for method in self.study.candidates.methods)

    @property
    def factor_digest(self) -> str:
        """What the solver's factor of the curvature depends on."""
        return digests.factor_digest(self)

    @property
    def damping_digest(self) -> str:
        """What the choice of the damping depends on."""
        return digests.damping_digest(self)

    @cached_property
    def attributor(self) -> fastif.Attributor | fastif.Ensemble:
        """The attributor of this study, with the parts that were prepared in the store."""
        if not self.others:
            return self.make_attributor(self.search)
        members = [job.make_attributor(self.search) for job in self.members]
        return fastif.Ensemble(members, self.excluded_members)

    @property
    def excluded_members(self) -> list[int]:
        """Places of the models that agree clearly less with retraining than the best of them.

        None where the damping was given, so that nobody measured how well they agree.
        """
        choices = [member.damping_choice for member in self.members]
        return find_clearly_worse([choice for choice in choices if choice]) if all(choices) else []

    @property
    def averaged_members(self) -> "tuple[RunContext, ...]":
        """The jobs of the models whose answers are averaged."""
        excluded = self.excluded_members
        return tuple(
            member for position, member in enumerate(self.members) if position not in excluded
        )

    @property
    def k_selection(self) -> KSelection | None:
        """How k was chosen; None if the study gives it, or it is not chosen yet."""
        if self.known_damping is None or find_target_method(self.study.candidates) is None:
            return None
        try:
            return read_k_selection(self.store, digests.k_digest(self))
        except StoreError:
            return None  # there is no store yet

    @property
    def candidates(self) -> AnyCandidates:
        """Where the study looks, with the k that was chosen; every row if none was enough."""
        return apply_k_selection(self.study.candidates, self.k_selection)

    @cached_property
    def search(self) -> Search:
        """Where to look, with the indices that were prepared in the store."""
        labels = self.train_texts.labels.cpu()
        indices = self.index_digests if self.candidates.methods else ()
        return read_search(self.store, indices, self.candidates, self.objective, labels)

    @property
    def has_sketch_scores(self) -> bool:
        """Whether scores are left as the sketches give them."""
        return has_sketch_scores(self.candidates)

    @property
    def is_incremental_by_sketches(self) -> bool:
        """Whether only what is new has to be sketched."""
        return self.plan.lineage is not None and self.has_sketch_scores

    def make_attributor(self, search: Search) -> fastif.Attributor:
        """The attributor of this model without the others."""
        return fastif.Attributor(
            self.objective,
            self.train,
            self.operator,
            self.study.solver,
            search,
            read_factor(self.store, self.factor_digest),
            self.study.run.batch_size,
            self.study.certificate.rows,
            self.study.curvature.leverage,
        )


def sample_rows(count: int, rows: int | None, seed: int) -> torch.Tensor:
    """The training rows that the curvature is taken over: all, or a fixed random sample."""
    if rows is None or rows >= count:
        return torch.arange(count)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(count, generator=generator)[:rows].sort().values
