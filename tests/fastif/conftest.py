"""One thread; torch is imported here, so that packages without torch are tested without it."""

import torch

torch.set_num_threads(1)
