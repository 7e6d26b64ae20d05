"""The `[candidates]` of a study: the sections of the registry, told apart by their kind."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from tasks.study.candidate_section import CandidateSection
from tasks.study.candidates import CANDIDATES

if TYPE_CHECKING:
    AnyCandidates = CandidateSection
else:  # as many as the registry has, of which a type checker knows nothing
    AnyCandidates = Annotated[Union[tuple(CANDIDATES.values())], Field(discriminator="kind")]  # noqa: UP007
