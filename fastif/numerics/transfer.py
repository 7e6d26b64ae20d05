"""Copies between the host and a device that the host does not wait for."""

import torch
from torch import Tensor


def send(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy a tensor to a device; to a GPU by page-locked memory, in the order of its stream.

    A copy from other memory would wait for all work of the device before it.

    Examples:
        >>> send(torch.tensor([1, 2]), "cpu")
        tensor([1, 2])
    """
    device = torch.device(device)
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return lock_pages(tensor, device).to(device, non_blocking=True)


def lock_pages(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Return a tensor of the host in page-locked memory if the device is a GPU."""
    is_gpu = torch.device(device).type == "cuda" and tensor.device.type == "cpu"
    return tensor.pin_memory() if is_gpu else tensor
