"""An objective of which only some parameters move."""

from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor

from fastif.data.examples import Batch
from fastif.gradients.hooks import MIX
from fastif.models.objective import Objective
from fastif.models.parameters import Params, ParamSpace


class Subset(Objective):
    """The same model, loss and examples; `names` alone are attributed, the others stay as trained.

    A batch may hold weights that mix the columns of the root; the model does not see them.

    >>> from torch import nn
    >>> from fastif import ModuleObjective, SquaredError
    >>> Subset(ModuleObjective(nn.Linear(2, 1), SquaredError()), ["bias"]).space.size
    1
    """

    def __init__(self, whole: Objective, names: Iterable[str]) -> None:
        self.whole = whole
        self.loss, self.measure, self.penalty = whole.loss, whole.measure, whole.penalty
        self.module, self.one_by_one = whole.module, whole.one_by_one
        self.params = {name: whole.params[name] for name in names}
        self.space = ParamSpace.of(self.params)

    @property
    def like(self) -> Tensor:
        return self.whole.like

    def outputs(self, params: Params, batch: Batch) -> Float[Tensor, "b c"]:
        seen = {key: tensor for key, tensor in batch.items() if key != MIX}
        return self.whole.outputs({**self.whole.params, **params}, seen)

    def embed(self, batch: Batch) -> Float[Tensor, "b d"]:
        return self.whole.embed(batch)

    def prefix(self, batch: Batch) -> Batch:
        return self.whole.prefix(batch)
