"""Type of `[solver]`: union of the records of `fastif.solvers`, discriminated by `kind`."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from fastif.solvers import Solver
from fastif.solvers.registry import SOLVERS

if TYPE_CHECKING:
    AnySolver = Solver
else:  # the members come from the registry, which a type checker cannot evaluate
    AnySolver = Annotated[Union[tuple(SOLVERS.values())], Field(discriminator="kind")]  # noqa: UP007
