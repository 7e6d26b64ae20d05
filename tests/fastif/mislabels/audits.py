"""Simulated random audit samples of tables whose wrong labels are known."""

import torch

from fastif.mislabels.audit_sample import UNKNOWN, AuditedRows, AuditSample
from fastif.mislabels.random_audit import RandomAudit
from fastif.mislabels.sampling_sizes import stratify_by_error


def population(kind, n, seed=0):
    """Labels, which are wrong, and error probabilities, calibrated or distorted."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    true = torch.where(torch.rand(n, generator=generator) < 0.2, 0.7, 0.05)
    wrong = torch.rand(n, generator=generator) < true
    prior_error = {
        "fits": true,
        "small": true * 0.02,
        "nothing": torch.rand(n, generator=generator),
        "backwards": 1 - true,
    }[kind]
    return labels, wrong, prior_error


def sample_rows(labels, wrong, prior_error, m, seed, weighted=True):
    """A sample of m rows of a table, with their verdicts."""
    n, generator = len(labels), torch.Generator().manual_seed(seed)
    stratum, size = torch.zeros(n, dtype=torch.long), torch.ones(n)
    if weighted:
        stratum, size = stratify_by_error(prior_error)
    waiting = -torch.rand(n, generator=generator, dtype=torch.float64).log() / size
    order, ones = waiting.argsort()[:m], torch.ones(n, dtype=torch.long)
    verdict = torch.full((n,), UNKNOWN).index_copy(0, order, wrong[order].long())
    rows = torch.arange(n)
    sample = AuditSample(rows, ones, stratum, size, prior_error, order, m)
    return AuditedRows((sample,), labels, verdict, ones, rows, torch.zeros(n, dtype=torch.bool))


def make_audit(labels, wrong, prior_error, audited):
    """The audit of the whole table."""
    reviewed = audited.verdict[audited.unit] != UNKNOWN
    return RandomAudit(audited, labels, prior_error, reviewed, reviewed & wrong)
