"""A study opened for computing: model, examples and curvature; what the tasks of a run share."""

from dataclasses import dataclass
from functools import cached_property

import torch

import fastif
from fastif.evaluation.select_damping import DampingChoice, clearly_worse
from fastif.evaluation.select_k import CandidateChoice
from fastif.models.hidden_state_file import HiddenFile
from storage import Store, StoreError
from tasks.models.provenance import Provenance, provenance_of
from tasks.planning.memory import MEGABYTE
from tasks.run import artifact_keys as digests
from tasks.run import hidden_states as hidden
from tasks.run.artifacts import read_factor, read_search
from tasks.run.k_selection import read_candidate_choice, settled, target_of
from tasks.run.reuse import Carried, carried_of
from tasks.run.selections import read_choice
from tasks.run.spec import Plan, existing_store
from tasks.runtime.progress import bar
from tasks.runtime.stage_timer import CLOCK
from tasks.study.methods import by_sketches
from tasks.study.sections import AnyCandidates
from tasks.study.study import Study


@dataclass(frozen=True, eq=False)
class Job:
    """What the tasks of a run share, made by `tasks.planning.open_run`; none of it is written to.

    Attributes:
        plan: the run.
        objective: its model; the first of several.
        train_texts, query_texts: its tables, as tokens.
        digest: of the model.
        others: the same for the study's further models.
    """

    plan: Plan
    objective: fastif.TransformerObjective
    train_texts: fastif.TextExamples
    query_texts: fastif.TextExamples
    digest: str
    others: "tuple[Job, ...]" = ()

    @property
    def members(self) -> "tuple[Job, ...]":
        """This job and those of the further models."""
        return (self, *self.others)

    @property
    def study(self) -> Study:
        """The study file."""
        return self.plan.inputs.study

    @property
    def store(self) -> Store:
        """The store that the run is written to."""
        return existing_store(self.study)

    @cached_property
    def provenance(self) -> Provenance | None:
        """What the records beside its models say of the study; None where there is none."""
        return provenance_of(self)

    @cached_property
    def carried(self) -> Carried | None:
        """What the run takes over from an earlier one; None if it begins from nothing."""
        return carried_of(self)

    @cached_property
    def train(self) -> fastif.Examples:
        """The training set with its frozen part computed, as far as memory is allowed.

        As tokens where a run goes on by sketches: few rows are looked at then, each once.
        """
        if self.goes_on_by_sketches:
            return self.train_texts
        return cached(self.objective, self.train_texts, self.study, self._on_disk("train"))

    @cached_property
    def queries(self) -> fastif.Examples:
        """The queries, likewise; as tokens if several models read them."""
        if self.others or self.goes_on_by_sketches:
            return self.query_texts
        return cached(self.objective, self.query_texts, self.study, self._on_disk("queries"))

    def _on_disk(self, which: hidden.Which) -> HiddenFile | None:
        with CLOCK.stage("hidden states"):
            return hidden.hidden_file(self, which)

    @cached_property
    def operator(self) -> fastif.Damped:
        """The damped curvature of the study."""
        return self.curvature(self.train, self.damping)

    @cached_property
    def damping(self) -> float:
        """The effective lambda: the study's, or the one that was chosen for it."""
        fixed = self.study.fixed_damping
        if fixed is not None:
            return fixed
        assert self.choice is not None, "the damping is chosen before it is asked for"
        return self.choice.effective

    @property
    def fixed_or_chosen(self) -> float | None:
        """The effective lambda, or None if it is yet to be chosen."""
        if self.study.fixed_damping is None and self.choice is None:
            return None
        return self.damping

    @property
    def choice(self) -> DampingChoice | None:
        """How the damping was chosen; None if the study gives it, or it is not chosen yet."""
        if self.study.fixed_damping is not None:
            return None
        try:
            return read_choice(self.store, self.choice_digest)
        except StoreError:
            return None  # there is no store yet

    def curvature(self, train: fastif.Examples, damping: float) -> fastif.Damped:
        """The curvature with this effective lambda, taking its examples from `train`."""
        if self.study.curvature.kind == "gauss-newton":
            return fastif.Damped(self.gauss_newton(train), damping)
        size = self.study.run.batch_size
        ids = self._curvature_ids(train)
        return fastif.Damped(fastif.Hessian(self.objective, train, ids, batch_size=size), damping)

    def gauss_newton(self, train: fastif.Examples) -> fastif.GaussNewton:
        """The Gauss-Newton matrix over the curvature's rows."""
        size = self.study.run.batch_size
        return fastif.GaussNewton(
            self.objective, train, self._curvature_ids(train), batch_size=size
        )

    def _curvature_ids(self, train: fastif.Examples) -> torch.Tensor:
        curvature = self.study.curvature
        return sampled_rows(len(train), curvature.rows, curvature.seed)

    @property
    def index_digests(self) -> tuple[str, ...]:
        """What the index of each method that searches depends on."""
        return tuple(digests.index_digest(self, one) for one in self.study.candidates.methods)

    @property
    def factor_digest(self) -> str:
        """What the solver's factor of the curvature depends on."""
        return digests.factor_digest(self)

    @property
    def choice_digest(self) -> str:
        """What the choice of the damping depends on."""
        return digests.choice_digest(self)

    @cached_property
    def attributor(self) -> fastif.Attributor | fastif.Ensemble:
        """The attributor of this study, with the parts that were prepared in the store."""
        if not self.others:
            return self.alone(self.search)
        members = [job.alone(self.search) for job in self.members]
        return fastif.Ensemble(members, self.left_out)

    @property
    def left_out(self) -> list[int]:
        """Places of the models that agree clearly less with retraining than the best of them.

        None where the damping was given, so that nobody measured how well they agree.
        """
        choices = [member.choice for member in self.members]
        return clearly_worse([one for one in choices if one]) if all(choices) else []

    @property
    def averaged(self) -> "tuple[Job, ...]":
        """The jobs of the models whose answers are averaged."""
        out = self.left_out
        return tuple(one for place, one in enumerate(self.members) if place not in out)

    @property
    def candidate_choice(self) -> CandidateChoice | None:
        """How k was chosen; None if the study gives it, or it is not chosen yet."""
        if self.fixed_or_chosen is None or target_of(self.study.candidates) is None:
            return None
        try:
            return read_candidate_choice(self.store, digests.candidate_digest(self))
        except StoreError:
            return None  # there is no store yet

    @property
    def candidates(self) -> AnyCandidates:
        """Where the study looks, with the k that was chosen; every row if none was enough."""
        return settled(self.study.candidates, self.candidate_choice)

    @cached_property
    def search(self) -> fastif.Search:
        """Where to look, with the indices that were prepared in the store."""
        labels = self.train_texts.labels.cpu()
        indices = self.index_digests if self.candidates.methods else ()
        return read_search(self.store, indices, self.candidates, self.objective, labels)

    @property
    def by_sketches(self) -> bool:
        """Whether scores are left as the sketches give them."""
        return by_sketches(self.candidates)

    @property
    def goes_on_by_sketches(self) -> bool:
        """Whether only what is new has to be sketched."""
        return self.plan.lineage is not None and self.by_sketches

    def alone(self, search: fastif.Search) -> fastif.Attributor:
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


def cached(
    objective: fastif.Objective,
    texts: fastif.Examples,
    study: Study,
    file: HiddenFile | None = None,
) -> fastif.PrefixCache:
    """Texts with their frozen part computed once, within a model's share of the memory for it."""
    budget = study.run.prefix_cache_mb * MEGABYTE // (1 + len(study.models))
    name = "hidden states of frozen layers"
    with CLOCK.stage("hidden states"), bar(name, len(texts)) as advance:
        return fastif.PrefixCache(objective, texts, budget, hidden.GROUP, advance, file)


def sampled_rows(count: int, rows: int | None, seed: int) -> torch.Tensor:
    """The training rows that the curvature is taken over: all, or a fixed random sample."""
    if rows is None or rows >= count:
        return torch.arange(count)
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(count, generator=generator)[:rows].sort().values
