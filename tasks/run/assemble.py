"""Assembly of the attributor of a run from its context and the artifacts in the store."""

import torch
from jaxtyping import Int
from torch import Tensor

import fastif
from fastif.attribution.member import Member
from fastif.candidates import Search
from fastif.numerics.precision import SINGLE, Precision
from tasks.models.provenance import Provenance, collect_provenance
from tasks.run.artifact_keys import factor_digest, index_digests
from tasks.run.artifacts import read_factor, read_search
from tasks.run.context import RunContext
from tasks.run.curvature import make_operator
from tasks.run.hidden_states import get_train_examples
from tasks.run.unrolled import make_unrolled_attributor, open_training_record
from tasks.study.target_kind import ONE_CLASS


def make_attributor(context: RunContext) -> Member | fastif.Ensemble:
    """Return the attributor of the run, cached: of its model, or the ensemble of all models.

    With a ranking other than by the effect it is an ensemble even of one model.
    """
    return context.memo.get(
        ("attributor", context.choices), lambda: _make_averaged_attributor(context)
    )


def _make_averaged_attributor(context: RunContext) -> Member | fastif.Ensemble:
    search = make_search(context)
    if context.is_unrolled:
        unrolled = make_unrolled_attributor(context, search, open_training_record(context))
        return fastif.Ensemble([unrolled], row_scale=context.row_scale)
    is_by_effect = context.row_scale is None and not context.ranks_by_cosine
    if not context.others and is_by_effect:
        return make_member_attributor(context, search, context.precision)
    if context.estimator_choice is not None:
        members = [
            make_member_attributor(member, search, context.precision)
            for member in context.averaged_members
        ]
        return fastif.Ensemble(
            members, row_scale=context.row_scale, by_cosine=context.ranks_by_cosine
        )
    members = [
        make_member_attributor(member, search, context.precision) for member in context.members
    ]
    return fastif.Ensemble(members, context.excluded_members, context.row_scale)


def make_member_attributor(
    context: RunContext, search: Search, precision: Precision = SINGLE
) -> fastif.Attributor:
    """Return the attributor of one model of the run, with scores in the given precision."""
    return fastif.Attributor(
        context.objective,
        get_train_examples(context),
        make_operator(context),
        context.solver,
        search,
        read_factor(context.store, factor_digest(context)),
        certify_rows=context.study.certificate.rows,
        leverage=context.study.curvature.leverage,
        precision=precision,
    )


def get_class_ids(context: RunContext) -> Int[Tensor, " n"]:
    """Return the class of each training row, for quotas; a single one for other targets."""
    train = context.plan.inputs.train
    if train.kind not in ONE_CLASS:
        return torch.zeros(len(train), dtype=torch.long)
    return torch.tensor(train.labels, dtype=torch.long)


def make_search(context: RunContext) -> Search:
    """Return the candidate search of the run with its indexes from the store, cached."""

    def make() -> Search:
        labels, candidates = get_class_ids(context), context.candidates
        searcher = context.searcher
        indices = index_digests(searcher) if candidates.methods else ()
        return read_search(context.store, indices, candidates, searcher.objective, labels)

    return context.memo.get(("search", context.choices), make)


def get_provenance(context: RunContext) -> Provenance | None:
    """Compare the training records of the models with the study, cached; None without a record."""
    inputs = context.plan.inputs
    models = [(m.model_digest, m.train_examples, m.query_examples) for m in context.members]
    return context.memo.get(
        "provenance", lambda: collect_provenance(inputs.study, inputs.train, models)
    )
