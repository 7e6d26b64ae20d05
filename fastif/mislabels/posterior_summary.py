"""Summary of posteriors: error probabilities, suggested labels, audited counts."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from fastif.mislabels.external_classifier import ClassifierTrust
from fastif.mislabels.identical_rows import pool_identical_labels
from fastif.mislabels.label_posterior import LabelPosterior
from fastif.mislabels.labeled_data import LabeledData
from fastif.mislabels.pseudo_r2 import (
    calibrated_pseudo_r2,
    compute_entropy,
    exceeds_chance,
    measure_skill,
)
from fastif.mislabels.random_audit import CountEstimate


def make_label_posterior(
    rows: LabeledData,
    p: Tensor,
    before_reviews: Tensor,
    transition: Tensor,
    cross_fitted_logits: Tensor,
    neighbour_ids: Tensor,
    label_scores: dict[str, Tensor],
    second_round: bool,
) -> LabelPosterior:
    """Summarize a posterior: error probabilities, suggested labels, audited counts.

    Args:
        rows: Labelled data, with reviewed rows and the random audit sample.
        p: Class probabilities p(t | x), [n, c].
        before_reviews: Label posterior before reviews, [n, c].
        transition: Noise transition matrix, [c, c].
        cross_fitted_logits: Out-of-fold logits of the heads, for the pseudo-R², [n, c].
        neighbour_ids: Positions of each row's nearest neighbours, [n, k].
        label_scores: Scores of other detectors by name.
        second_round: Whether a second round was fitted.
    """
    prior_error = _error_probability(rows, before_reviews)
    recalibrated, audited_counts = _recalibrate_by_audit(rows, before_reviews, prior_error)
    class_posterior = rows.clamp_to_known(recalibrated)
    error_probability = _error_probability(rows, class_posterior)
    # By p(t | x) alone: T is less certain, and would pull suggestions to frequent confusions.
    feature_posterior = rows.clamp_to_known(pool_identical_labels(p, rows, transition))
    best, suggested = feature_posterior.scatter(1, rows.labels[:, None], -1).max(1)
    confidence = best / _error_probability(rows, feature_posterior).clamp_min(1e-30)
    pseudo_r2 = calibrated_pseudo_r2(cross_fitted_logits, rows.labels)
    row_results = (class_posterior, error_probability, prior_error, suggested, confidence)
    return LabelPosterior(
        *row_results,
        transition,
        neighbour_ids,
        pseudo_r2,
        label_scores,
        second_round,
        audited_counts,
    )


def has_information(
    rows: LabeledData,
    external: Sequence[ClassifierTrust],
    member_logits: Sequence[Float[Tensor, "n c"]],
) -> bool:
    """Whether predictions that are better than chance are behind a ranking.

    Args:
        rows: Labelled data.
        external: Estimated reliability of the external classifiers.
        member_logits: Out-of-fold logits of each classifier of the detector, [n, c].
    """
    members = [*member_logits]
    if rows.classifier_logits is not None:
        members.append(rows.classifier_logits)
    entropy, tests = compute_entropy(rows.labels), len(members) + len(external)
    # One calibration of each partition and one of their mean: a scale and c - 1 biases each. In
    # simulations without information the 99 % quantile is at or below that of 2 c parameters.
    parameters = 2 * rows.classes
    return any(
        exceeds_chance(measure_skill(z, rows.labels), entropy, rows.group_count, parameters, tests)
        for z in members
    ) or any(
        each.weight > 0 and exceeds_chance(each.pseudo_r2, entropy, each.rows, parameters, tests)
        for each in external
    )


def _recalibrate_by_audit(
    rows: LabeledData, class_posterior: Tensor, prior_error: Tensor
) -> tuple[Tensor, tuple[CountEstimate, ...] | None]:
    """Recalibrate the posterior on the random audit sample; also estimate the errors."""
    audit = rows.make_audit(prior_error)
    if audit is None:
        return class_posterior, None
    counts = (audit.estimate_errors(label) for label in (*range(rows.classes), None))
    return _rescale_posterior(rows, class_posterior, audit.recalibrate()), tuple(counts)


def _rescale_posterior(
    rows: LabeledData, class_posterior: Tensor, error_probability: Tensor
) -> Tensor:
    """Set the error probability of each label; the other classes keep their proportions."""
    others = class_posterior.scatter(1, rows.labels[:, None], 0.0)
    scaled = others * (error_probability / others.sum(1).clamp_min(1e-30))[:, None]
    return scaled.scatter(1, rows.labels[:, None], (1 - error_probability)[:, None])


def _error_probability(
    rows: LabeledData, class_posterior: Float[Tensor, "n c"]
) -> Float[Tensor, " n"]:
    """Sum of the other classes: 1 - p(y | x, y) would round to 0 for a confident label."""
    return class_posterior.scatter(1, rows.labels[:, None], 0.0).sum(1)
