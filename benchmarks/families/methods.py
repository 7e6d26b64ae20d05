"""Methods of a study on one family: exact effects, sketches, EK-FAC and features, with references.

The reference takes plain autograd on each row alone, and the inverse of the damped Gauss-Newton
matrix by the identity of Woodbury in the space of all outputs of all rows.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModel, PreTrainedModel

from benchmarks.families.examine import LONGER, Verdict, format_reason, make_rows, make_tokens
from benchmarks.families.tiny import tiny_classifier, tiny_config
from fastif import (
    Attributor,
    Dual,
    Ekfac,
    ExhaustiveSearch,
    GaussNewton,
    InputError,
    TextExamples,
    TransformerObjective,
    all_ids,
)
from fastif.candidates.sketch import GradientSketcher, compute_query_sketches
from fastif.mislabels.text_embeddings import mean_pool
from fastif.models.pretrained import select_encoder

METHODS = ("audit", "sketches", "EK-FAC", "features")
TOLERANCE = 5e-3
"""Relative difference in single precision, as in a study."""
DAMPING = 0.1
"""Damping relative to the mean squared norm of the rows of the Gauss-Newton factor."""


def examine_methods(family: str) -> list[Verdict]:
    """Return one verdict for each method: "yes", or the reason why not."""
    try:
        model = tiny_classifier(family).float()
        rows = make_rows(model, LONGER.get(family, 0))
    except Exception as error:
        return [Verdict(family, method, "not tried", format_reason(error)) for method in METHODS]
    features = _run(family, "features", lambda: _compare_features(family, rows))
    try:
        objective = _make_objective(model)
        objective.verify_shortcuts(rows)
    except Exception as error:
        word = "refused" if isinstance(error, InputError) else "wrong"
        return [
            *(Verdict(family, method, word, format_reason(error)) for method in METHODS[:-1]),
            features,
        ]
    if objective.padding.side is None:
        rows = rows.with_equal_lengths()
    reference = _Reference(model, rows, objective.space.names)
    curvature = GaussNewton(objective, rows.with_batch_size(4))
    checks: dict[str, Callable[[], float]] = {
        "audit": lambda: _compare_effects(objective, curvature, reference),
        "sketches": lambda: _compare_sketches(curvature, reference),
        "EK-FAC": lambda: _compare_traces(curvature, reference),
    }
    return [*(_run(family, method, check) for method, check in checks.items()), features]


def _make_objective(model: PreTrainedModel) -> TransformerObjective:
    """Return the objective of `last:1`; of all parameters if no layer can be attributed alone."""
    try:
        return TransformerObjective(model, "last:1")
    except InputError:
        return TransformerObjective(model, "all")


def _run(family: str, method: str, check: Callable[[], float]) -> Verdict:
    try:
        gap = check()
    except InputError as error:
        return Verdict(family, method, "refused", format_reason(error))
    except Exception as error:
        return Verdict(family, method, "wrong", format_reason(error))
    if gap < TOLERANCE:
        return Verdict(family, method, "yes")
    return Verdict(family, method, "wrong", f"off by {gap:.1e}")


class _Reference:
    """Gradients g [n p] and the factor V [n c p] of the Gauss-Newton matrix VᵀV/n, row by row."""

    def __init__(self, model: PreTrainedModel, rows: TextExamples, names: tuple[str, ...]) -> None:
        parameters = dict(model.requires_grad_().named_parameters())
        weights = [parameters[name] for name in names]
        gradients, factor = [], []
        for i in range(len(rows)):
            logits = model(**make_tokens(rows, i)).logits
            loss = cross_entropy(logits, rows.labels[i : i + 1])
            gradients.append(_flatten(loss, weights))
            jacobian = torch.stack([_flatten(logit, weights) for logit in logits[0]])
            shares = logits[0].detach().softmax(0)
            values, vectors = torch.linalg.eigh(shares.diag() - shares[:, None] * shares)
            factor.append((vectors * values.clamp_min(0).sqrt()).T @ jacobian)
        self.gradients, self.factor = torch.stack(gradients), torch.cat(factor)
        self.trace = float(self.factor.square().sum() / len(rows))
        self.damping = DAMPING * self.trace

    def compute_products(self) -> Tensor:
        """Return gᵀ (VᵀV/n + λI)⁻¹ g of all pairs of rows."""
        projected = self.gradients @ self.factor.T
        gram = self.factor @ self.factor.T
        gram += len(self.gradients) * self.damping * torch.eye(len(gram), dtype=gram.dtype)
        inner = self.gradients @ self.gradients.T
        return (inner - projected @ torch.linalg.solve(gram, projected.T)) / self.damping


def _flatten(output: Tensor, weights: Sequence[Tensor]) -> Tensor:
    gradients = torch.autograd.grad(
        output, tuple(weights), retain_graph=True, materialize_grads=True
    )
    return torch.cat([gradient.flatten() for gradient in gradients])


def _compare_effects(
    objective: TransformerObjective, curvature: GaussNewton, reference: _Reference
) -> float:
    rows = curvature.examples
    operator = curvature.with_damping(reference.damping)
    attributor = Attributor(
        objective, rows, operator, Dual(), ExhaustiveSearch(None), leverage="off"
    )
    influences = attributor(rows, all_ids(rows)).influences
    effects = influences.removal_effect
    ordered = torch.empty_like(effects).scatter_(1, influences.ids, effects)
    return _relative(ordered * len(rows), reference.compute_products())


def _compare_sketches(curvature: GaussNewton, reference: _Reference) -> float:
    count = curvature.count * curvature.rows_per_example
    sketcher = GradientSketcher.fit(
        curvature, reference.damping, dimensions=count, width=curvature.size, energy=1 - 1e-9
    )
    sketches = compute_query_sketches(sketcher, curvature.gradients, curvature.examples).double()
    return _relative(sketches @ sketches.T, reference.compute_products())


def _compare_traces(curvature: GaussNewton, reference: _Reference) -> float:
    """EK-FAC has the exact trace; its off-diagonal entries are an approximation by definition."""
    trace = float(Ekfac.fit(curvature).eigenvalues.sum())
    return abs(trace - reference.trace) / reference.trace


def _compare_features(family: str, rows: TextExamples) -> float:
    torch.manual_seed(3)
    config = tiny_config(family)
    for part in (config, config.get_text_config()):
        part._experts_implementation = "eager"
    config.architectures = config.architectures or []  # Funnel has two, and reads which
    encoder = select_encoder(AutoModel.from_config(config, attn_implementation="eager").eval())
    pooled = mean_pool(encoder, rows, all_ids(rows), 6)
    alone = [mean_pool(encoder, rows, torch.tensor([i]), 1)[0] for i in range(len(rows))]
    return _relative(pooled, torch.stack(alone))


def _relative(values: Tensor, truth: Tensor) -> float:
    gap = float((values - truth).abs().max() / truth.abs().max().clamp_min(1e-12))
    return gap if bool(torch.isfinite(values).all()) else float("inf")
