"""Type of `[candidates]`: union of the registered sections, discriminated by `kind`."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from tasks.study.candidate_section import CandidateSection
from tasks.study.candidates import CANDIDATES

if TYPE_CHECKING:
    AnyCandidates = CandidateSection
else:  # the members come from the registry, which a type checker cannot evaluate
    AnyCandidates = Annotated[Union[tuple(CANDIDATES.values())], Field(discriminator="kind")]  # noqa: UP007
