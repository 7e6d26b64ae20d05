"""Size of the models of a run: their number, bytes and shapes."""

from dataclasses import dataclass

import torch

from fastif import InputError
from tasks.models.hidden_state_cache import count_bytes_per_token
from tasks.run.context import RunContext


@dataclass(frozen=True)
class ModelSize:
    """Size of the models, which have equal shapes.

    Attributes:
        count: Number of models in the mean; at most, while the estimator is not selected.
        nbytes: Bytes of one model's parameters.
        token_bytes: Bytes of a token's hidden state after the frozen layers; 0 if no layer is
            frozen.
        layer_shapes: Shapes of the attributed matrices, (outputs, inputs).
        embedding_width: Dimension of an embedding.
        checkpoints: Number of checkpoints that the selection of the estimator tries.
        loaded: Number of models in memory; None for `count`.
        ranks_by_cosine: Whether rows are ranked by gradient cosine, or may be: while a study of one
            model has not selected its estimator.
        tries_ekfac: Whether the selection of the estimator tries effects by EK-FAC.
    """

    count: int
    nbytes: int
    token_bytes: int
    layer_shapes: tuple[tuple[int, ...], ...]
    embedding_width: int
    checkpoints: int = 0
    loaded: int | None = None
    ranks_by_cosine: bool = False
    tries_ekfac: bool = False

    @property
    def tried(self) -> int:
        """Number of models in memory."""
        return self.count if self.loaded is None else self.loaded


def measure_models(context: RunContext) -> ModelSize:
    """Measure the models of a run."""
    objective = context.objective
    return ModelSize(
        count=_count_averaged(context),
        nbytes=sum(tensor.nbytes for tensor in objective.full_model.parameters()),
        token_bytes=count_bytes_per_token(objective),
        layer_shapes=tuple(tuple(shape) for shape in objective.space.shapes if len(shape) == 2),
        embedding_width=context.memo.get("embedding width", lambda: _measure_embedding(context)),
        checkpoints=len(context.study.estimator.folders),
        loaded=len(context.members),
        ranks_by_cosine=context.ranks_by_cosine or _may_rank_by_cosine(context),
        tries_ekfac=context.tries_ekfac,
    )


def _measure_embedding(context: RunContext) -> int:
    """Return the dimension of an embedding; 0 for a module without a linear layer."""
    try:
        return context.objective.embed(context.train_examples.take(torch.zeros(1).long())).shape[1]
    except InputError:  # no audit of it uses embeddings
        return 0


def _may_rank_by_cosine(context: RunContext) -> bool:
    is_open = context.lacks_estimator and context.study.estimator.power == "auto"
    return is_open and len(context.members) == 1


def _count_averaged(context: RunContext) -> int:
    """Return the number of models in the mean; the largest, before the estimator is selected."""
    if context.estimator_choice is not None or not context.study.estimator.folders:
        return len(context.averaged_members)
    checkpoints = len(context.study.estimator.folders)
    trainings = len(context.members) - checkpoints
    return len(context.members) if trainings == 1 else max(trainings, checkpoints)
