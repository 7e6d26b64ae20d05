"""What a side hands back."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class SideResult:
    """What a side tells besides its seconds.

    Attributes:
        facts: numbers and words for the report.
        tensors: what another side is compared with.
    """

    facts: dict = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
