"""Training-data influence: which training examples helped or harmed a prediction, and by how much.

An **objective** has **curvature**; a **solver** inverts it; **candidates** say where to look;
**influence** multiplies.
"""

from fastif.attribution.attributor import Attribution, Attributor, attribute_by_sketches
from fastif.attribution.certificate import Certificate
from fastif.attribution.ensemble import Ensemble
from fastif.attribution.full_residual import full_residual
from fastif.attribution.group_removal import Removal, remove_group
from fastif.attribution.influence import (
    UNSEEN,
    Influences,
    influence,
    mean_influence,
    self_influence,
)
from fastif.attribution.layerwise import Blocks, influence_by_block
from fastif.attribution.leverage import Leverage
from fastif.attribution.scorers import GradientScorer, Scorer
from fastif.attribution.slice_totals import Totals
from fastif.candidates import (
    CandidateIndex,
    Candidates,
    Everything,
    Index,
    Nearest,
    Quota,
    Search,
    Sketched,
    Sketcher,
    United,
    embeddings,
    faiss_builds,
    load_faiss,
    query_sketches,
    train_sketches,
)
from fastif.curvature import Damped, Dense, Ekfac, GaussNewton, Hessian, LinearOperator
from fastif.data.examples import (
    Batch,
    Examples,
    Relabelled,
    TensorExamples,
    batches,
    every,
)
from fastif.data.tokenized_text import TextExamples, encode
from fastif.errors import InputError
from fastif.gradients.per_example import (
    Gradients,
    Tile,
    gradient_rows,
    measure_rows,
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
    encoder_length,
    encoder_width,
    load_base,
    load_encoder,
    load_model,
    load_tokenizer,
    quiet_loading,
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
from fastif.training.fit import Recipe, fit, predict
from fastif.training.training_dynamics import Dynamics

__all__ = [
    "UNSEEN",
    "Attribution",
    "Attributor",
    "Batch",
    "BinaryCrossEntropy",
    "Blocks",
    "CandidateIndex",
    "Candidates",
    "Certificate",
    "ConjugateGradient",
    "CrossEntropy",
    "Damped",
    "Dense",
    "Direct",
    "Dual",
    "Dynamics",
    "Ekfac",
    "Ensemble",
    "Everything",
    "Examples",
    "Factor",
    "GaussNewton",
    "GradientScorer",
    "Gradients",
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
    "Nearest",
    "Objective",
    "ParamSpace",
    "PrefixCache",
    "Quota",
    "Recipe",
    "Relabelled",
    "Removal",
    "Scorer",
    "Search",
    "Sketched",
    "Sketcher",
    "SmoothHinge",
    "Solution",
    "Solver",
    "Spectral",
    "SquaredError",
    "TensorExamples",
    "TextExamples",
    "Tile",
    "Totals",
    "TransformerObjective",
    "United",
    "attribute_by_sketches",
    "balanced_weights",
    "batches",
    "check_length",
    "embeddings",
    "encode",
    "encoder_length",
    "encoder_width",
    "every",
    "faiss_builds",
    "fit",
    "full_residual",
    "gradient_rows",
    "influence",
    "influence_by_block",
    "load_base",
    "load_encoder",
    "load_faiss",
    "load_model",
    "load_tokenizer",
    "mean_influence",
    "measure_rows",
    "predict",
    "query_sketches",
    "quiet_loading",
    "remove_group",
    "self_influence",
    "train_sketches",
]
