"""Return value of a side."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class SideResult:
    """Result of a side besides its seconds.

    Attributes:
        facts: Numbers and words for the page.
        tensors: Tensors for the comparison with other sides.
    """

    facts: dict = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
