"""One thread; torch is imported here, so that rooms without torch are tested without it."""

import torch

torch.set_num_threads(1)
