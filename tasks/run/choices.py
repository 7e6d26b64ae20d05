"""Settings that a run selects (damping, k), as its store has them now."""

from dataclasses import replace

from fastif.evaluation.estimator import EKFAC
from fastif.evaluation.select_k import KSelection
from fastif.evaluation.select_precision import PrecisionSelection
from storage import Store
from tasks.run.artifact_keys import (
    damping_digest,
    ekfac_digest,
    estimator_digest,
    k_digest,
    precision_digest,
)
from tasks.run.context import RunContext
from tasks.run.row_norms import read_row_norms
from tasks.run.selections import DAMPING, ESTIMATOR, PRECISION, K
from tasks.run.spec import find_existing_store


def resolve_choices(context: RunContext) -> RunContext:
    """Return the context with the store and the selections that it holds now.

    Returns the same context if nothing has changed. Cached values are kept, since each is cached
    under the selections it depends on.
    """
    store = find_existing_store(context.study)
    first, *others = (_resolve_damping(member, store) for member in context.members)
    latest = replace(first, others=tuple(others))
    latest = _resolve_estimator(latest, context)
    latest = replace(
        latest,
        k_selection=_find_k_selection(latest),
        precision_selection=_find_precision_selection(latest),
    )
    return context if _list_choices(latest) == _list_choices(context) else latest


def _resolve_damping(member: RunContext, store: Store | None) -> RunContext:
    choice = None
    if store is not None and member.study.fixed_damping is None:
        choice = DAMPING.read(store, damping_digest(member))
    return replace(member, existing_store=store, damping_choice=choice, ekfac_choice=None)


def _resolve_estimator(latest: RunContext, before: RunContext) -> RunContext:
    """Return the context with the selected estimator, if every damping was selected with it."""
    store = latest.existing_store
    if store is None or any(member.damping_choice is None for member in latest.members):
        return replace(latest, estimator_choice=None, row_norms=None)
    digest = estimator_digest(latest)
    choice = ESTIMATOR.read(store, digest)
    if choice is not None and choice.estimator.kind == EKFAC:
        latest = replace(latest, ekfac_choice=DAMPING.read(store, ekfac_digest(latest)))
        choice = None if latest.ekfac_choice is None else choice
    if choice is None or not choice.estimator.is_normalized:
        return replace(latest, estimator_choice=choice, row_norms=None)
    is_known = before.estimator_choice == choice and before.row_norms is not None
    norms = before.row_norms if is_known else read_row_norms(store, digest)
    # A selection whose norms are lost is made again, never a ranking without them.
    return replace(latest, estimator_choice=None if norms is None else choice, row_norms=norms)


def _find_k_selection(context: RunContext) -> KSelection | None:
    is_open = context.known_damping is None or context.existing_store is None
    if is_open or context.study.candidates.target_method is None:
        return None
    return K.read(context.store, k_digest(context))


def _find_precision_selection(context: RunContext) -> PrecisionSelection | None:
    is_open = context.known_damping is None or context.existing_store is None
    if is_open or context.study.score_precision != "auto":
        return None
    return PRECISION.read(context.store, precision_digest(context))


def _list_choices(context: RunContext) -> list[object]:
    members = [(m.existing_store, m.damping_choice, m.k_selection) for m in context.members]
    choices = (context.estimator_choice, context.precision_selection)
    return [*members, *choices, context.row_norms is None]
