"""Context of a run: models, tokenized tables, store and selected settings, as frozen data."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

import fastif
from fastif.data.examples import LabeledExamples
from fastif.evaluation.estimator import COSINE, UNROLLED, row_scale
from fastif.evaluation.select_damping import DampingSelection, find_clearly_worse
from fastif.evaluation.select_estimator import EstimatorSelection
from fastif.evaluation.select_k import KSelection
from fastif.evaluation.select_precision import PrecisionSelection
from fastif.numerics.precision import SINGLE, Precision
from fastif.solvers import Solver, Spectral
from fastif.solvers.build import build_solver
from storage import Store
from tasks.data.target_text import Target
from tasks.run.selections import apply_k_selection
from tasks.run.spec import RunPlan, open_existing_store
from tasks.study.any_candidates import AnyCandidates
from tasks.study.study import Study

Made = TypeVar("Made")


class Memo:
    """Cache of values computed from a run, by name and the settings they depend on."""

    def __init__(self) -> None:
        self._values: dict[Hashable, Any] = {}

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return the value of a key, computed by `make` on first use."""
        if key not in self._values:
            self._values[key] = make()
        return self._values[key]


@dataclass(frozen=True, eq=False)
class RunContext:
    """Context that the tasks of a run share; `tasks.planning.open_run` creates it.

    A context is opened for each task, so that it has the selections made by earlier tasks; a task
    that makes a selection opens it again. Values computed from it are in `assemble`, `curvature`
    and `hidden_states`.

    Attributes:
        plan: Plan of the run.
        objective: Model and loss; of several models, the first.
        train_examples, query_examples: Tables as inputs of the model, such as tokens.
        model_digest: SHA-256 of the model's files.
        others: Contexts of the study's further models.
        existing_store: Store of the study; None if it did not exist when the run was opened.
        damping_choice: Selected damping; None if the study sets it, or before it is selected.
        ekfac_choice: Selected damping of EK-FAC; None unless the selected effects are by EK-FAC.
        estimator_choice: Selected estimator; None if no retraining selects it, or before.
        row_norms: Norms of the training rows' effects on the control queries, [n]; None if the
            ranking does not depend on them.
        k_selection: Selected number of candidates; None if the study sets it, or before it is
            selected.
        precision_selection: Selected precision of scores; None if the study sets it, before it is
            selected, or if it is left at single precision without a trial.
        predicted: Predicted target of each query; None if every target is a given label.
        memo: Cache of computed values; another plan starts with an empty one.
    """

    plan: RunPlan
    objective: fastif.Objective
    train_examples: LabeledExamples
    query_examples: LabeledExamples
    model_digest: str
    others: "tuple[RunContext, ...]" = ()
    existing_store: Store | None = None
    damping_choice: DampingSelection | None = None
    ekfac_choice: DampingSelection | None = None
    estimator_choice: EstimatorSelection | None = None
    row_norms: Tensor | None = None
    k_selection: KSelection | None = None
    precision_selection: PrecisionSelection | None = None
    predicted: tuple[Target, ...] | None = None
    memo: Memo = field(default_factory=Memo)

    @property
    def members(self) -> "tuple[RunContext, ...]":
        """Contexts of all models, this one first."""
        return (self, *self.others)

    @property
    def study(self) -> Study:
        """Study file."""
        return self.plan.inputs.study

    @property
    def solver(self) -> Solver:
        """Solver of the linear systems: of the study, unless effects by EK-FAC are selected."""
        return build_solver(self.study.solver) if self.ekfac_choice is None else Spectral()

    @property
    def store(self) -> Store:
        """Store of the study.

        Raises:
            StoreError: The store does not exist or cannot be opened.
        """
        return self.existing_store or open_existing_store(self.study)

    @property
    def damping(self) -> float:
        """Effective damping λ, set by the study or selected for it."""
        assert self.known_damping is not None, "the damping is selected before it is used"
        return self.known_damping

    @property
    def known_damping(self) -> float | None:
        """Effective damping λ; None if it is not selected yet."""
        choice = self.ekfac_choice or self.damping_choice
        return self.study.fixed_damping if choice is None else choice.effective_damping

    @property
    def excluded_members(self) -> list[int]:
        """Positions of models that the selected estimator leaves out.

        Without checkpoints these are the models that agree clearly less with retraining than the
        best one; none if the damping is set by the study, since agreement is not measured then.
        """
        if self.estimator_choice is not None:
            used = self.estimator_choice.estimator.models
            return [place for place in range(len(self.members)) if place not in used]
        choices = [member.damping_choice for member in self.members]
        return find_clearly_worse([choice for choice in choices if choice]) if all(choices) else []

    @property
    def averaged_members(self) -> "tuple[RunContext, ...]":
        """Contexts of the models in the average."""
        excluded = self.excluded_members
        return tuple(
            member for position, member in enumerate(self.members) if position not in excluded
        )

    @property
    def lacks_estimator(self) -> bool:
        """Whether retraining has to select the estimator, and has not yet."""
        is_selected = self.study.fixed_damping is None and self.study.training is not None
        return is_selected and self.study.estimator.is_open and self.estimator_choice is None

    @property
    def tries_ekfac(self) -> bool:
        """Whether the selection of the estimator tries effects by EK-FAC."""
        section, study = self.study.estimator, self.study
        exact = build_solver(study.solver)
        is_possible = exact.ekfac_solver is None and study.curvature.kind == "gauss-newton"
        is_possible = is_possible and study.curvature.leverage != "on" and exact.kind != "lissa"
        is_wanted = section.ekfac is True or (section.ekfac == "auto" and not self.others)
        return section.is_open and is_possible and is_wanted

    @property
    def is_unrolled(self) -> bool:
        """Whether the selected effects are those through the training."""
        choice = self.estimator_choice
        return choice is not None and choice.estimator.kind == UNROLLED

    @property
    def ranks_by_cosine(self) -> bool:
        """Whether the selected ranking is by gradient cosine."""
        choice = self.estimator_choice
        return choice is not None and choice.estimator.kind == COSINE

    @property
    def searcher(self) -> "RunContext":
        """Context of the model whose index selects the candidates."""
        return self.averaged_members[0] if self.estimator_choice else self

    @property
    def row_scale(self) -> Tensor | None:
        """Factors of the training rows in the ranking score, [n]; None if it is the effect."""
        if self.estimator_choice is None or self.row_norms is None:
            return None
        return row_scale(self.row_norms, self.estimator_choice.estimator.power)

    @property
    def choices(self) -> Hashable:
        """Selected λ, models, ranking, k and precision: cache key of values that depend on them."""
        dampings = tuple(member.known_damping for member in self.members)
        k = None if self.k_selection is None else (self.k_selection.k,)
        excluded = tuple(self.excluded_members)
        return dampings, self.estimator_choice, excluded, k, self.precision

    @property
    def precision(self) -> Precision:
        """Precision of scores: of the study, or selected; single precision if neither."""
        if self.study.score_precision != "auto":
            return self.study.score_precision
        return SINGLE if self.precision_selection is None else self.precision_selection.precision

    @property
    def candidates(self) -> AnyCandidates:
        """Section `[candidates]` with the selected k; a full scan if no k reached the target."""
        return apply_k_selection(self.study.candidates, self.k_selection)

    @property
    def has_sketch_scores(self) -> bool:
        """Whether scores are inner products of sketches, without exact rescoring."""
        return self.candidates.has_sketch_scores

    @property
    def is_incremental_by_sketches(self) -> bool:
        """Whether the run continues a parent run, so that only new rows are sketched."""
        return self.plan.lineage is not None and self.has_sketch_scores
