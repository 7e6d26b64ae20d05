"""Training-data influence: which training examples helped or harmed a prediction, and by how much.

An **objective** has **curvature**; a **solver** inverts it; **candidates** say where to look;
**influence** multiplies.
"""

from fastif.attribution.attributor import Attribution, Attributor, attribute_by_sketches
from fastif.attribution.certificate import Certificate
from fastif.attribution.ensemble import Ensemble
from fastif.attribution.full_residual import compute_full_residual
from fastif.attribution.group_removal import GroupRemoval, remove_group
from fastif.attribution.influence import (
    NO_EXAMPLE,
    Influences,
    influence,
    mean_influence,
    self_influence,
)
from fastif.attribution.layerwise import ParameterBlocks, layerwise_influence
from fastif.attribution.leverage import Leverage
from fastif.attribution.scorers import GradientScorer, Scorer
from fastif.attribution.slice_totals import SliceTotals
from fastif.candidates import (
    CandidateIndex,
    Candidates,
    ClassQuota,
    ExhaustiveSearch,
    GradientSketcher,
    Index,
    NearestNeighbors,
    Search,
    SketchSearch,
    UnionSearch,
    compute_embeddings,
    compute_query_sketches,
    compute_train_sketches,
    find_faiss_builds,
    load_faiss,
)
from fastif.curvature import (
    DampedOperator,
    DenseOperator,
    Ekfac,
    GaussNewton,
    Hessian,
    LinearOperator,
)
from fastif.data.examples import (
    Batch,
    Examples,
    RelabeledExamples,
    TensorExamples,
    all_ids,
    batches,
)
from fastif.data.tokenized_text import TextExamples, encode
from fastif.errors import InputError
from fastif.gradients.per_example import (
    Gradients,
    GradientTile,
    compute_loss_gradients,
    compute_measure_gradients,
)
from fastif.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    Loss,
    Measure,
    SmoothHinge,
    SquaredError,
    balanced_weights,
)
from fastif.models.max_positions import check_length
from fastif.models.objective import ModuleObjective, Objective
from fastif.models.parameters import ParamSpace
from fastif.models.prefix_cache import PrefixCache
from fastif.models.pretrained import (
    load_base,
    load_encoder,
    load_model,
    load_tokenizer,
    quiet_loading,
    read_encoder_max_length,
    read_encoder_width,
)
from fastif.models.transformer import TransformerObjective
from fastif.solvers import (
    ConjugateGradient,
    Direct,
    Dual,
    Factor,
    Lissa,
    Solution,
    Solver,
    Spectral,
)
from fastif.training.fit import TrainingConfig, fit, predict
from fastif.training.training_dynamics import TrainingDynamics

__all__ = [
    "NO_EXAMPLE",
    "Attribution",
    "Attributor",
    "Batch",
    "BinaryCrossEntropy",
    "CandidateIndex",
    "Candidates",
    "Certificate",
    "ClassQuota",
    "ConjugateGradient",
    "CrossEntropy",
    "DampedOperator",
    "DenseOperator",
    "Direct",
    "Dual",
    "Ekfac",
    "Ensemble",
    "Examples",
    "ExhaustiveSearch",
    "Factor",
    "GaussNewton",
    "GradientScorer",
    "GradientSketcher",
    "GradientTile",
    "Gradients",
    "GroupRemoval",
    "Hessian",
    "Index",
    "Influences",
    "InputError",
    "Leverage",
    "LinearOperator",
    "Lissa",
    "Loss",
    "Measure",
    "ModuleObjective",
    "NearestNeighbors",
    "Objective",
    "ParamSpace",
    "ParameterBlocks",
    "PrefixCache",
    "RelabeledExamples",
    "Scorer",
    "Search",
    "SketchSearch",
    "SliceTotals",
    "SmoothHinge",
    "Solution",
    "Solver",
    "Spectral",
    "SquaredError",
    "TensorExamples",
    "TextExamples",
    "TrainingConfig",
    "TrainingDynamics",
    "TransformerObjective",
    "UnionSearch",
    "all_ids",
    "attribute_by_sketches",
    "balanced_weights",
    "batches",
    "check_length",
    "compute_embeddings",
    "compute_full_residual",
    "compute_loss_gradients",
    "compute_measure_gradients",
    "compute_query_sketches",
    "compute_train_sketches",
    "encode",
    "find_faiss_builds",
    "fit",
    "influence",
    "layerwise_influence",
    "load_base",
    "load_encoder",
    "load_faiss",
    "load_model",
    "load_tokenizer",
    "mean_influence",
    "predict",
    "quiet_loading",
    "read_encoder_max_length",
    "read_encoder_width",
    "remove_group",
    "self_influence",
]
