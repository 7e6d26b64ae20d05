"""Selection of damping and estimator (`damping = "auto"`) by retraining, or by the spectrum."""

import torch
from prefect import task
from prefect.cache_policies import NO_CACHE

import fastif
from fastif.evaluation.row_effects import MAX_CONTROL_QUERIES
from fastif.evaluation.select_damping import HALVES, sample_halves
from fastif.evaluation.spectral_damping import select_damping_by_spectrum
from fastif.losses.query_measure import ENTROPY
from fastif.numerics.correlation import margins
from tasks.audit.select_estimator import select_by_retraining
from tasks.models.finetune import make_training_config
from tasks.models.hidden_state_cache import cache_hidden_states
from tasks.models.locate import find_base_folder
from tasks.models.query_targets import get_common_measure, make_measure_function
from tasks.models.target_outputs import has_margins
from tasks.models.untrained_model import make_objective
from tasks.planning.open_run import lease_run
from tasks.run.artifact_keys import damping_digest
from tasks.run.choices import resolve_choices
from tasks.run.context import RunContext
from tasks.run.curvature import make_gauss_newton
from tasks.run.hidden_states import get_train_examples
from tasks.run.reuse import get_reuse, make_lost_choice_error
from tasks.run.selections import DAMPING
from tasks.run.spec import RunRef
from tasks.run.unrolled import open_training_record
from tasks.runtime.progress import progress_bar
from tasks.runtime.retries import retry_if_transient
from tasks.study.study import Study

FIRST_SEED = 1000
"""Random seed of the first retraining; the others follow."""


@task(
    name="choose-damping", cache_policy=NO_CACHE, retries=2, retry_condition_fn=retry_if_transient
)
def choose_damping(ref: RunRef) -> list[float]:
    """Select the damping of each model and the estimator, unless set or selected before.

    By agreement with retraining on random halves if the study has the recipe, `[training]`; without
    it the damping alone, by the largest eigenvalue of the curvature.

    Returns:
        Effective damping λ of each model.
    """
    with lease_run(ref) as context:
        undecided = [member for member in context.members if member.known_damping is None]
        if (undecided or context.lacks_estimator) and get_reuse(context):
            raise make_lost_choice_error(context, "damping" if undecided else "estimator")
        if undecided and context.study.training is None:
            _choose_by_spectrum(undecided)
        elif undecided or context.lacks_estimator:
            _choose_by_retraining(context)
        return [member.damping for member in resolve_choices(context).members]


def _choose_by_spectrum(members: list[RunContext]) -> None:
    for member in members:
        choice = select_damping_by_spectrum(
            make_gauss_newton(member, get_train_examples(member)),
            is_ekfac=member.solver.ekfac_solver is not None,
        )
        DAMPING.write(member.store, damping_digest(member), choice)


def _choose_by_retraining(context: RunContext) -> None:
    count = len(context.query_examples)
    generator = torch.Generator().manual_seed(0)
    query_ids = torch.randperm(count, generator=generator)[:MAX_CONTROL_QUERIES].sort().values
    halves = sample_halves(len(context.train_examples), HALVES, seed=0)
    # It repeats the recorded training, so another loss is refused before anything is retrained.
    has_record = context.study.estimator.through_training
    record = open_training_record(context) if has_record else None
    half_margins = _retrain_on_halves(context, halves, query_ids)
    select_by_retraining(context, query_ids, halves, half_margins, record)


def _retrain_on_halves(
    context: RunContext, halves: list[torch.Tensor], query_ids: torch.Tensor
) -> torch.Tensor:
    """Return margins of the queries under the retrained models, [halves, queries].

    Where there is no margin, or the measure is the entropy, the measure takes its place.
    """
    study, labels = context.study, context.query_examples.labels[query_ids]
    base, table, device = (
        find_base_folder(study),
        context.plan.inputs.train,
        context.objective.like.device,
    )
    first = make_objective(study, base, table, FIRST_SEED, device)
    # The frozen layers are those of the base model for every half, so they run once.
    train, queries = (
        cache_hidden_states(first, examples, study)
        for examples in (context.train_examples, context.query_examples.subset(query_ids))
    )
    half_margins = []
    steps = sum(make_training_config(study, 0).count_steps(len(half)) for half in halves)
    with progress_bar("damping: retraining on half-subsets", steps, "steps") as advance:
        for number, half in enumerate(halves):
            objective = make_objective(study, base, table, FIRST_SEED + number, device)
            objective.params = fastif.fit(
                objective,
                train.subset(half),
                make_training_config(study, FIRST_SEED + number),
                lambda *_: advance(1),
            )
            logits = fastif.predict(objective, queries)[0]
            half_margins.append(_compute_goodness(study, logits, labels.to(logits.device)))
    return torch.stack(half_margins)


def _compute_goodness(study: Study, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return a number of each query that falls as its measure becomes worse, [queries]."""
    if get_common_measure(study) is ENTROPY or not has_margins(study) or labels.dim() > 1:
        return -make_measure_function(study)(logits, labels)
    return margins(logits, labels)
