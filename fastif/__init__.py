"""Influence functions: which training examples helped or harmed a prediction, and by how much.

The removal effect of training example i on query z (Koh and Liang, 2017) is

    removal_effect[z, i] = 1/n ∇L(z)ᵀ (H + λI)⁻¹ ∇L(i)

An `Attributor` computes it from four parts: an **objective** (model, loss and parameters), its
**curvature** H (`GaussNewton`, `Ekfac` or `Hessian`) with a damping λ, a **solver** of the linear
system, and a **search** for the training examples to score (all of them, or candidates).
"""

import typing

from fastif.lazy_exports import make_getattr as _make_getattr

if typing.TYPE_CHECKING:
    from fastif.attribution.attribution import Attribution
    from fastif.attribution.attributor import Attributor
    from fastif.attribution.ensemble import Ensemble
    from fastif.attribution.flip_search import find_flip_set as find_flip_set
    from fastif.attribution.flip_set import FlipSet as FlipSet
    from fastif.attribution.group_removal import remove_group
    from fastif.attribution.influence import Influences, influence, self_influence
    from fastif.candidates import (
        CandidateIndex,
        ExhaustiveSearch,
        NearestNeighbors,
        SketchSearch,
        compute_embeddings,
    )
    from fastif.candidates import (
        UnionSearch as UnionSearch,  # no export any more, but importable as before
    )
    from fastif.curvature import Ekfac, GaussNewton, Hessian
    from fastif.data.examples import Examples, TensorExamples, all_ids
    from fastif.data.tokenized_text import TextExamples, encode
    from fastif.entry_points import audit, open
    from fastif.errors import InputError
    from fastif.gradients.per_example import Gradients
    from fastif.losses import BinaryCrossEntropy, CrossEntropy, SquaredError
    from fastif.losses import (
        SmoothHinge as SmoothHinge,  # no export any more, but importable as before
    )
    from fastif.models.objective import ModuleObjective, Objective
    from fastif.models.pretrained import load_model, load_tokenizer
    from fastif.models.transformer import TransformerObjective
    from fastif.solvers import ConjugateGradient, Direct, Dual, Lissa, Spectral
    from fastif.training.fit import TrainingConfig, fit, predict
else:
    __getattr__ = _make_getattr(__name__, __file__)

__all__ = [
    "Attribution",
    "Attributor",
    "BinaryCrossEntropy",
    "CandidateIndex",
    "ConjugateGradient",
    "CrossEntropy",
    "Direct",
    "Dual",
    "Ekfac",
    "Ensemble",
    "Examples",
    "ExhaustiveSearch",
    "GaussNewton",
    "Gradients",
    "Hessian",
    "Influences",
    "InputError",
    "Lissa",
    "ModuleObjective",
    "NearestNeighbors",
    "Objective",
    "SketchSearch",
    "Spectral",
    "SquaredError",
    "TensorExamples",
    "TextExamples",
    "TrainingConfig",
    "TransformerObjective",
    "all_ids",
    "audit",
    "compute_embeddings",
    "encode",
    "fit",
    "influence",
    "load_model",
    "load_tokenizer",
    "open",
    "predict",
    "remove_group",
    "self_influence",
]
