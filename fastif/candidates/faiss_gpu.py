"""FAISS on a GPU: the CUDA releases of FAISS and torch, and the copy of an index to a device."""

import logging
import re
from functools import cache
from importlib.metadata import requires, version
from typing import Any

import torch

from fastif.candidates.index_factory import find_faiss_builds, load_faiss

SUFFIX = re.compile(r"-cu(\d+)$")
REQUIRED_LIBRARY = re.compile(r"^nvidia-[a-z-]+-cu(\d+)\b")
REQUIRED_RUNTIME = re.compile(r"^nvidia-cuda-runtime\b.*?[>~=]=(\d+)")

MAX_GPU_NEIGHBORS = 2048
"""Largest k of a search by FAISS on a GPU."""

TEMPORARY_BYTES = 256 * 2**20
"""Memory of a device that FAISS reserves for its searches; by default it takes 1.5 GB."""

logger = logging.getLogger(__name__)


def find_faiss_cuda() -> int | None:
    """CUDA release of the installed FAISS build; None for the CPU build, or if it is not recorded.

    It is in the name of the distribution, or in those of the CUDA libraries that it requires.
    """
    for name in find_faiss_builds():
        if name == "faiss-cpu":
            continue
        required = [line for line in requires(name) or () if "extra" not in line]
        matches = [SUFFIX.search(name), *(REQUIRED_LIBRARY.match(line) for line in required)]
        matches += [REQUIRED_RUNTIME.match(line) for line in required]
        releases = [int(match.group(1)) for match in matches if match]
        if releases:
            return releases[0]
    return None


def find_torch_cuda() -> int | None:
    """CUDA release of torch; None for a build without CUDA."""
    return None if torch.version.cuda is None else int(torch.version.cuda.split(".")[0])


def describe_cuda_conflict() -> str | None:
    """Sentence on a GPU build of FAISS for another CUDA release than torch's; None without one."""
    faiss_cuda, torch_cuda = find_faiss_cuda(), find_torch_cuda()
    if faiss_cuda is None or torch_cuda is None or faiss_cuda == torch_cuda:
        return None
    build = next(name for name in find_faiss_builds())
    return (
        f"{build} {version(build)} is for CUDA {faiss_cuda}, torch {torch.__version__} for CUDA "
        f"{torch_cuda}: FAISS is used without GPU, and torch searches exact indexes on the device. "
        f"Install torch for CUDA {faiss_cuda}, or faiss-cpu in place of {build}, to end this note."
    )


def describe_faiss() -> str:
    """Describe the installed FAISS build, its CUDA release, and where it searches.

    Raises:
        InputError: Both builds are installed, or neither, or FAISS cannot be loaded.
    """
    load_faiss()
    builds = ", ".join(f"{name} {number}" for name, number in find_faiss_builds().items())
    release = find_faiss_cuda()
    parts = [builds if release is None else f"{builds} for CUDA {release}"]
    if "faiss-cpu" not in find_faiss_builds():
        gpus = count_faiss_gpus()
        conflict = describe_cuda_conflict()
        parts.append(conflict or f"{gpus} GPUs for FAISS")
    elif torch.cuda.is_available():
        parts.append("exact indexes are searched on the GPU by torch, others on the processor")
    return "; ".join(parts)


def count_faiss_gpus() -> int:
    """Number of GPUs that FAISS may use; 0 for its CPU build or another CUDA release than torch's.

    A conflict of releases is logged as a warning, once.
    """
    conflict = describe_cuda_conflict()
    if conflict is not None:
        _warn_once(conflict)
        return 0
    try:
        return getattr(load_faiss(), "get_num_gpus", lambda: 0)()
    except RuntimeError:  # there is no driver
        return 0


@cache
def _warn_once(note: str) -> None:
    logger.warning(note)


def copy_to_gpu(index: Any, device: torch.device) -> Any | None:
    """Copy an index to a GPU; None if FAISS has none, or the index cannot move.

    Graphs such as HNSW have no GPU form, and a large index may not fit next to the model. The
    copy holds the resources of FAISS that it needs.
    """
    if device.type != "cuda" or count_faiss_gpus() == 0:
        return None
    faiss = load_faiss()
    number = torch.cuda.current_device() if device.index is None else device.index
    try:
        resources = faiss.StandardGpuResources()
        resources.setTempMemory(TEMPORARY_BYTES)
        return faiss.index_cpu_to_gpu(resources, number, index)
    except RuntimeError as error:
        _warn_once(f"FAISS does not search this index on {device}: {error}".splitlines()[0])
        return None
