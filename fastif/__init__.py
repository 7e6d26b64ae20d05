"""Training-data influence: which training examples helped or harmed a prediction, and by how much.

An **objective** has **curvature**; a **solver** inverts it; **candidates** say where to look;
**influence** multiplies.
"""

from fastif.attribution import Attribution, Attributor, Everything, Nearest, embeddings
from fastif.candidates import CandidateIndex, Candidates, faiss_builds, load_faiss
from fastif.checkpoint import check_length, load_model, load_tokenizer, quiet_loading
from fastif.curvature import Damped, Dense, GaussNewton, Hessian, LinearOperator
from fastif.errors import InputError
from fastif.examples import Batch, Examples, TensorExamples, batches, every
from fastif.gradients import Gradients, Tile, gradient_rows
from fastif.influence import Influences, influence, self_influence
from fastif.loss import CrossEntropy, Loss, SquaredError
from fastif.objective import ModuleObjective, Objective
from fastif.parameters import ParamSpace
from fastif.prefix import PrefixCache
from fastif.solvers import ConjugateGradient, Direct, Dual, Factor, Lissa, Solution, Solver
from fastif.text import TextExamples, encode
from fastif.training import Recipe, fit, predict
from fastif.transformer import TransformerObjective

__all__ = [
    "Attribution",
    "Attributor",
    "Batch",
    "CandidateIndex",
    "Candidates",
    "ConjugateGradient",
    "CrossEntropy",
    "Damped",
    "Dense",
    "Direct",
    "Dual",
    "Everything",
    "Examples",
    "Factor",
    "GaussNewton",
    "Gradients",
    "Hessian",
    "Influences",
    "InputError",
    "LinearOperator",
    "Lissa",
    "Loss",
    "ModuleObjective",
    "Nearest",
    "Objective",
    "ParamSpace",
    "PrefixCache",
    "Recipe",
    "Solution",
    "Solver",
    "SquaredError",
    "TensorExamples",
    "TextExamples",
    "Tile",
    "TransformerObjective",
    "batches",
    "check_length",
    "embeddings",
    "encode",
    "every",
    "faiss_builds",
    "fit",
    "gradient_rows",
    "influence",
    "load_faiss",
    "load_model",
    "load_tokenizer",
    "predict",
    "quiet_loading",
    "self_influence",
]
