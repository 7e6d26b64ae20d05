"""Agreement of a run's sampled curvature in the store: measured, or the reason why it is not."""

from dataclasses import replace

from storage import compute_fingerprint
from tasks.run.agreement import AgreementRecord
from tasks.run.artifact_keys import agreement_digest
from tasks.run.context import RunContext
from tasks.run.selections import AGREEMENT


def read_agreement(context: RunContext) -> AgreementRecord | None:
    """Return what was measured for this curvature, or why this run left it out; None before."""
    if context.known_damping is None or context.existing_store is None:
        return None
    measured = AGREEMENT.read(context.store, agreement_digest(context))
    if measured is None:
        return AGREEMENT.read(context.store, _omission_digest(context))
    return replace(measured, model=_find_measured_model(context))


def write_agreement(context: RunContext, record: AgreementRecord) -> None:
    """Store an agreement for all runs with this curvature, or a reason for this run alone."""
    digest = _omission_digest(context) if record.measured is None else agreement_digest(context)
    AGREEMENT.write(context.store, digest, record)


def _find_measured_model(context: RunContext) -> str:
    """Return the path of the measured model of several; empty for a study of one."""
    names = [context.study.model.path, *context.study.further_models]
    return names[context.members.index(context.averaged_members[0])] if context.others else ""


def _omission_digest(context: RunContext) -> str:
    """Return the cache key of a reason, which depends on the cost of the run and on its budget."""
    selection = context.plan.selection
    inputs = {
        "run": context.plan.record.fingerprint,
        "budget": None if selection is None else selection.budget,
        "agreement": agreement_digest(context),
    }
    return compute_fingerprint({"agreement left out": inputs})
