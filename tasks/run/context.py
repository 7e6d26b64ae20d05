"""A study opened for computing, as data: model, tables, store, and what was chosen so far."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import fastif
from fastif.evaluation.select_damping import DampingSelection, find_clearly_worse
from fastif.evaluation.select_k import KSelection
from storage import Store
from tasks.run.selections import apply_k_selection
from tasks.run.spec import RunPlan, open_existing_store
from tasks.study.any_candidates import AnyCandidates
from tasks.study.study import Study

Made = TypeVar("Made")


class Memo:
    """What a process makes of a run once: values by the name and the choices they depend on."""

    def __init__(self) -> None:
        self._values: dict[Hashable, Any] = {}

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """The value of this key, made on first use."""
        if key not in self._values:
            self._values[key] = make()
        return self._values[key]


@dataclass(frozen=True, eq=False)
class RunContext:
    """What the tasks of a run share, made by `tasks.planning.open_run`.

    It is opened for each task, so that it has the choices of those before; a task that makes a
    choice opens it again. What is computed from it is in `assemble`, `curvature`, `hidden_states`.

    Attributes:
        plan: the run.
        objective: its model; the first of several.
        train_texts, query_texts: its tables, as tokens.
        model_digest: of the model.
        others: the same for the study's further models.
        existing_store: the store, if there was one when the run was opened.
        damping_choice: how the damping was chosen; None if the study gives it, or not chosen yet.
        k_selection: how k was chosen; likewise.
        memo: what this process has made of it; another plan begins with an empty one.
    """

    plan: RunPlan
    objective: fastif.TransformerObjective
    train_texts: fastif.TextExamples
    query_texts: fastif.TextExamples
    model_digest: str
    others: "tuple[RunContext, ...]" = ()
    existing_store: Store | None = None
    damping_choice: DampingSelection | None = None
    k_selection: KSelection | None = None
    memo: Memo = field(default_factory=Memo)

    @property
    def members(self) -> "tuple[RunContext, ...]":
        """This context and those of the further models."""
        return (self, *self.others)

    @property
    def study(self) -> Study:
        """The study file."""
        return self.plan.inputs.study

    @property
    def store(self) -> Store:
        """The store that the run is written to.

        Raises:
            StoreError: there is none; to open it once more says what is wrong.
        """
        return self.existing_store or open_existing_store(self.study)

    @property
    def damping(self) -> float:
        """The effective lambda: the study's, or the one that was chosen for it."""
        assert self.known_damping is not None, "the damping is chosen before it is asked for"
        return self.known_damping

    @property
    def known_damping(self) -> float | None:
        """The effective lambda, or None if it is yet to be chosen."""
        choice = self.damping_choice
        return self.study.fixed_damping if choice is None else choice.effective_damping

    @property
    def excluded_members(self) -> list[int]:
        """Places of the models that agree clearly less with retraining than the best of them.

        None where the damping was given, so that nobody measured how well they agree.
        """
        choices = [member.damping_choice for member in self.members]
        return find_clearly_worse([choice for choice in choices if choice]) if all(choices) else []

    @property
    def averaged_members(self) -> "tuple[RunContext, ...]":
        """The contexts of the models whose answers are averaged."""
        excluded = self.excluded_members
        return tuple(
            member for position, member in enumerate(self.members) if position not in excluded
        )

    @property
    def choices(self) -> Hashable:
        """What is known of lambda, models and k: the key of what depends on them in the memo."""
        dampings = tuple(member.known_damping for member in self.members)
        k = None if self.k_selection is None else (self.k_selection.k,)
        return dampings, tuple(self.excluded_members), k

    @property
    def candidates(self) -> AnyCandidates:
        """Where the study looks, with the k that was chosen; every row if none was enough."""
        return apply_k_selection(self.study.candidates, self.k_selection)

    @property
    def has_sketch_scores(self) -> bool:
        """Whether scores are left as the sketches give them."""
        return self.candidates.has_sketch_scores

    @property
    def is_incremental_by_sketches(self) -> bool:
        """Whether only what is new has to be sketched."""
        return self.plan.lineage is not None and self.has_sketch_scores
