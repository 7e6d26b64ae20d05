"""Run the GPU benchmark in a process without the packages of the orchestration.

Usage: python bare_host.py FILE; writes the scores and dense reference scores to FILE.
"""

import sys
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

if TYPE_CHECKING:
    from benchmarks.bulk.gpu_workload import Work
    from fastif import TextExamples

BLOCKED = ("prefect", "polars", "pyarrow", "dask", "distributed", "pydantic", "typer", "rich")


def dense_gradients(work: "Work", examples: "TextExamples | None" = None) -> torch.Tensor:
    """Return gradients by one backward pass for each training row, or each given one, [n p]."""
    model, rows = work.objective.full_model, []
    params = [model.get_parameter(name).requires_grad_() for name in work.objective.space.names]
    examples = work.train if examples is None else examples
    for tokens, label in zip(examples.tokens, examples.labels, strict=True):
        loss = model(input_ids=tokens[None], labels=label[None]).loss
        rows.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss, params)]))
    return torch.stack(rows)


def dense_factor_rows(work: "Work", ids: torch.Tensor) -> torch.Tensor:
    """Return rows of V with G = VᵀV / n: √π_c (∇z_c - Σ_k π_k ∇z_k) for each class c, [n c p]."""
    model, rows = work.objective.full_model, []
    params = [model.get_parameter(name).requires_grad_() for name in work.objective.space.names]
    for row in ids.tolist():
        logits = model(input_ids=work.train.tokens[row][None]).logits[0]
        jacobian = torch.stack(
            [
                torch.cat([part.flatten() for part in torch.autograd.grad(z, params, None, True)])
                for z in logits
            ]
        )
        chances = logits.detach().softmax(0)
        rows.append(chances.sqrt()[:, None] * (jacobian - chances @ jacobian))
    return torch.stack(rows)


def main() -> None:
    for name in BLOCKED:  # here, since the doctests of the whole folder import this file
        sys.modules[name] = None  # type: ignore[assignment]  # importing it fails
    from benchmarks.bulk import gpu
    from benchmarks.bulk.gpu_stages import converged_scan, full_scan, search_sketches
    from benchmarks.bulk.gpu_workload import SMOKE, Work
    from fastif import GaussNewton

    sys.argv[1:], target = ["--scale", "smoke"], sys.argv[1]
    gpu.main()
    work = Work.of(SMOKE, torch.device("cpu"))
    scanned, sketched = full_scan(work), search_sketches(work)
    exact, gradients = converged_scan(work), dense_gradients(work)
    assert exact.full_residual is not None
    curvature = exact.operator.operator
    assert isinstance(curvature, GaussNewton)
    tensors = {
        "ids": scanned.influences.ids,
        "effects": scanned.influences.removal_effect,
        "dense": scanned.solved.s_test.float() @ gradients.T / len(gradients),
        "exact ids": exact.influences.ids,
        "exact effects": exact.influences.removal_effect,
        "exact dense": exact.solved.s_test.float() @ gradients.T / len(gradients),
        "exact s_test": exact.solved.s_test,
        "residual": exact.solved.residual,
        "full residual": exact.full_residual,
        "query gradients": dense_gradients(work, work.queries),
        "factor rows": dense_factor_rows(work, torch.arange(SMOKE.rows)),
        "sampled": curvature.ids,
        "sketch ids": sketched.top_bottom[0],
        "sketch products": sketched.top_bottom[1],
    }
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, target)
    loaded = [name for name in BLOCKED if sys.modules[name] is not None]
    assert not loaded, loaded


if __name__ == "__main__":
    main()
