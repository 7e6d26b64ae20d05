"""Random signs that mix the columns of a curvature root into one."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def rademacher_signs(seed: int, ids: Int[Tensor, " b"], columns: int) -> Float[Tensor, "b r"]:
    """±1 for each example and column, fixed by the seed and the example's position alone.

    From a counter-based generator (Salmon et al., 2011), so neither batches nor their order matter.

    >>> both = rademacher_signs(0, torch.tensor([7, 3]), 5)
    >>> torch.equal(both[1:], rademacher_signs(0, torch.tensor([3]), 5))
    True
    """
    bits = [
        np.random.Generator(np.random.Philox(key=[seed, example])).integers(0, 2, columns)
        for example in ids.tolist()
    ]
    return 2.0 * torch.from_numpy(np.stack(bits)) - 1.0
