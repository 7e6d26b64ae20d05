"""Run the GPU benchmark in a process without the packages of the orchestration.

Usage: python bare_host.py FILE; writes the scores and dense reference scores to FILE.
"""

import sys
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

if TYPE_CHECKING:
    from benchmarks.bulk.gpu_workload import Work

BLOCKED = ("prefect", "polars", "pyarrow", "dask", "distributed", "pydantic", "typer", "rich")


def dense_gradients(work: "Work") -> torch.Tensor:
    """Return gradients by one backward pass for each training row, [n p]."""
    model, rows = work.objective.full_model, []
    params = [model.get_parameter(name).requires_grad_() for name in work.objective.space.names]
    for tokens, label in zip(work.train.tokens, work.train.labels, strict=True):
        loss = model(input_ids=tokens[None], labels=label[None]).loss
        rows.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss, params)]))
    return torch.stack(rows)


def main() -> None:
    for name in BLOCKED:  # here, since the doctests of the whole folder import this file
        sys.modules[name] = None  # type: ignore[assignment]  # importing it fails
    from benchmarks.bulk import gpu
    from benchmarks.bulk.gpu_stages import full_scan, search_sketches
    from benchmarks.bulk.gpu_workload import SMOKE, Work

    sys.argv[1:], target = ["--scale", "smoke"], sys.argv[1]
    gpu.main()
    work = Work.of(SMOKE, torch.device("cpu"))
    scanned, sketched = full_scan(work), search_sketches(work)
    gradients = dense_gradients(work)
    tensors = {
        "ids": scanned.influences.ids,
        "effects": scanned.influences.removal_effect,
        "dense": scanned.s_test.float() @ gradients.T / len(gradients),
        "sketch ids": sketched.top_bottom[0],
        "sketch products": sketched.top_bottom[1],
    }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, target)
    loaded = [name for name in BLOCKED if sys.modules[name] is not None]
    assert not loaded, loaded


if __name__ == "__main__":
    main()
