"""Type of `[solver]`: union of the records of hyper-parameters, discriminated by `kind`."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from fastif.solvers.registry import SOLVERS
from fastif.solvers.settings import SolverSettings

if TYPE_CHECKING:
    AnySolver = SolverSettings
else:  # the members come from the registry, which a type checker cannot evaluate
    AnySolver = Annotated[Union[tuple(SOLVERS.values())], Field(discriminator="kind")]  # noqa: UP007
