"""CUDA releases of FAISS and torch side by side, and the copy of an index to a GPU."""

import sys
from pathlib import Path

import pytest
import torch

from fastif import InputError
from fastif.candidates import faiss_gpu, find_faiss_builds, load_faiss
from fastif.candidates.faiss_gpu import (
    copy_to_gpu,
    count_faiss_gpus,
    describe_cuda_conflict,
    describe_faiss,
    find_faiss_cuda,
)

GPU = torch.device("cuda:1")
LIBRARIES = ["numpy>=1.25", "nvidia-cuda-runtime-cu12<13,>=12.6", "nvidia-cublas-cu12<13,>=12.6"]


def install(folder: Path, monkeypatch, name: str, required: list[str]) -> None:
    """Make `name` the only installed distribution, by the metadata that pip leaves."""
    info = folder / f"{name.replace('-', '_')}-1.99.0.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.99.0"]
    lines += [f"Requires-Dist: {requirement}" for requirement in required]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    load_faiss()  # the module stays loaded
    monkeypatch.setattr(sys, "path", [str(folder)])
    assert find_faiss_builds() == {name: "1.99.0"}


@pytest.mark.parametrize(
    ("name", "required", "release"),
    [
        ("faiss-cpu", ["numpy>=1.25"], None),
        ("faiss-gpu", LIBRARIES, 12),
        ("faiss-gpu-cu12", ["numpy<3"], 12),
        ("faiss-gpu-cu11", ["numpy", 'nvidia-cuda-runtime-cu12==12.1; extra == "fix-cuda"'], 11),
        ("faiss-gpu", ["nvidia-cuda-runtime<14,>=13.0"], 13),
        ("faiss-gpu", ["numpy"], None),
    ],
)
def test_the_cuda_release_is_read_from_name_and_requirements(
    tmp_path, monkeypatch, name, required, release
):
    install(tmp_path, monkeypatch, name, required)
    assert find_faiss_cuda() == release


@pytest.mark.parametrize(
    ("torch_cuda", "conflict"), [("12.8", False), ("13.0", True), ("11.8", True), (None, False)]
)
def test_releases_of_faiss_and_torch_are_compared(tmp_path, monkeypatch, torch_cuda, conflict):
    install(tmp_path, monkeypatch, "faiss-gpu", LIBRARIES)
    monkeypatch.setattr(torch.version, "cuda", torch_cuda)
    monkeypatch.setattr(load_faiss(), "get_num_gpus", lambda: 2, raising=False)
    assert (describe_cuda_conflict() is not None) is conflict
    assert count_faiss_gpus() == (0 if conflict else 2)
    described = describe_faiss()
    assert described.startswith("faiss-gpu 1.99.0 for CUDA 12; ")
    assert ("2 GPUs for FAISS" in described) is not conflict
    if conflict:
        assert f"for CUDA {torch_cuda.split('.')[0]}" in described
        assert "Install torch for CUDA 12, or faiss-cpu in place of faiss-gpu" in described


def test_a_conflict_is_logged_once(tmp_path, monkeypatch, caplog):
    install(tmp_path, monkeypatch, "faiss-gpu", LIBRARIES)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    faiss_gpu._warn_once.cache_clear()
    index = load_faiss().index_factory(4, "Flat")
    assert copy_to_gpu(index, GPU) is None
    assert copy_to_gpu(index, GPU) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "FAISS is used without GPU" in caplog.text


def test_a_build_without_its_cuda_libraries_is_refused_by_name(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "faiss-gpu", LIBRARIES)
    (tmp_path / "faiss.py").write_text("raise ImportError('libcublas.so.12: cannot open')")
    monkeypatch.delitem(sys.modules, "faiss")
    with pytest.raises(InputError, match=r"faiss-gpu: libcublas\.so\.12: cannot open.*faiss-cpu"):
        load_faiss()


def test_an_index_moves_to_the_device_with_bounded_memory(tmp_path, monkeypatch):
    faiss, moved = load_faiss(), []
    index = faiss.index_factory(4, "Flat")
    assert copy_to_gpu(index, GPU) is None, "the CPU build has no GPUs"
    install(tmp_path, monkeypatch, "faiss-gpu", LIBRARIES)
    monkeypatch.setattr(torch.version, "cuda", "12.8")

    class Resources:
        def setTempMemory(self, size):  # noqa: N802
            self.size = size

    def move(resources, number, index):
        moved.append((resources.size, number))
        return faiss.clone_index(index)

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2, raising=False)
    monkeypatch.setattr(faiss, "StandardGpuResources", Resources, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", move, raising=False)
    assert copy_to_gpu(index, torch.device("cpu")) is None
    assert copy_to_gpu(index, GPU) is not None
    assert moved == [(faiss_gpu.TEMPORARY_BYTES, 1)]

    def refuse(*_):
        raise RuntimeError("not implemented on GPU")

    monkeypatch.setattr(faiss, "index_cpu_to_gpu", refuse, raising=False)
    assert copy_to_gpu(index, GPU) is None


def test_a_missing_driver_counts_as_no_gpu(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, "faiss-gpu", LIBRARIES)
    monkeypatch.setattr(torch.version, "cuda", "12.8")

    def fail():
        raise RuntimeError("CUDA error 35: driver version is insufficient")

    monkeypatch.setattr(load_faiss(), "get_num_gpus", fail, raising=False)
    assert count_faiss_gpus() == 0
