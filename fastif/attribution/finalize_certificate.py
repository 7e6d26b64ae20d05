"""Certificate of a mean of models: their agreement, captured effect, and overflowed scores."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from fastif.attribution.certificate import Certificate, combine_certificates
from fastif.attribution.control_sample import (
    ControlScores,
    compute_model_agreement,
    estimate_captured_mass,
)
from fastif.attribution.influence import (
    NO_EXAMPLE,
    Influences,
)
from fastif.candidates.faiss_index import Candidates


def combine_members(
    certificates: Sequence[Certificate], controls: Sequence[ControlScores]
) -> Certificate:
    """Combine the certificates of several models, and add the agreement of their scores."""
    certificate = combine_certificates(certificates)
    if len(certificates) == 1:
        return certificate
    return replace(certificate, agreement=compute_model_agreement(controls))


def finalize_certificate(
    certificate: Certificate,
    influences: Influences,
    candidates: Candidates | None,
    controls: Sequence[ControlScores],
    num_train: int,
) -> Certificate:
    """Add what depends on the scores: captured share, dropped examples, overflowed queries."""
    if candidates is None:
        dropped = torch.full((len(influences.ids),), len(influences.nonfinite_ids))
    else:
        dropped = torch.isin(candidates.ids, influences.nonfinite_ids).sum(1)
        captured_mass = estimate_captured_mass(
            controls, num_train, influences.ids, influences.removal_effect
        )
        certificate = replace(certificate, held=captured_mass)
    is_scored = influences.ids != NO_EXAMPLE
    is_finite = torch.isfinite(influences.removal_effect) & torch.isfinite(influences.ranking)
    overflowed = (is_scored & ~is_finite).any(1)
    return certificate.finalize(overflowed, dropped)
