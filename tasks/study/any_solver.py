"""The solver of a study: the records of `fastif.solvers` themselves, told apart by their kind."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from fastif.solvers import Solver
from fastif.solvers.registry import SOLVERS

if TYPE_CHECKING:
    AnySolver = Solver
else:  # as many as the registry has, of which a type checker knows nothing
    AnySolver = Annotated[Union[tuple(SOLVERS.values())], Field(discriminator="kind")]  # noqa: UP007
