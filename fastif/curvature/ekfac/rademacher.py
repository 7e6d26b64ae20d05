"""Rademacher signs that mix the columns of the loss's square root into one."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def rademacher_signs(seed: int, ids: Int[Tensor, " b"], columns: int) -> Float[Tensor, "b r"]:
    """Rademacher variables ±1 for each example and column, from a counter-based generator.

    They depend only on the seed and the position of the example (Philox; Salmon et al., 2011), so
    neither batch size nor order changes them.

    Args:
        seed: Random seed of all signs.
        ids: Positions of the examples in their table.
        columns: Number of signs for each example.

    Examples:
        >>> both = rademacher_signs(0, torch.tensor([7, 3]), 5)
        >>> torch.equal(both[1:], rademacher_signs(0, torch.tensor([3]), 5))
        True
    """
    bits = [
        np.random.Generator(np.random.Philox(key=[seed, example])).integers(0, 2, columns)
        for example in ids.tolist()
    ]
    return 2.0 * torch.from_numpy(np.stack(bits)) - 1.0
