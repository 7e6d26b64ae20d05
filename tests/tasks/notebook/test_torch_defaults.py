"""Defaults of torch during an audit: those of torch itself, and the session's again after it."""

import contextlib
import threading

import pytest
import torch

from tasks.notebook.torch_defaults import use_torch_defaults


@contextlib.contextmanager
def set_globally():
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize("elsewhere", [set_globally, lambda: torch.device("meta")])
def test_a_default_device_is_neither_used_nor_left_changed(elsewhere):
    with elsewhere():
        with use_torch_defaults():
            assert torch.ones(1).device.type == "cpu"
        assert torch.ones(1).device.type == "meta"
    assert torch.ones(1).device.type == "cpu"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_default_dtype_is_neither_used_nor_left_changed(dtype):
    torch.set_default_dtype(dtype)
    try:
        with use_torch_defaults():
            assert torch.ones(1).dtype == torch.float32
        assert torch.ones(1).dtype == dtype
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_are_there_whatever_the_session_has_switched_off(mode):
    with mode():
        with use_torch_defaults():
            assert (2 * torch.ones(1, requires_grad=True)).requires_grad
        assert not torch.is_grad_enabled()


def test_threads_take_turns_so_that_none_restores_the_type_of_another():
    is_inside, may_end, dtypes = threading.Event(), threading.Event(), []

    def compute_first():
        with use_torch_defaults():
            is_inside.set()
            may_end.wait(30)

    def compute_second():
        is_inside.wait(30)
        with use_torch_defaults():
            threads[0].join(30)
            dtypes.append(torch.ones(1).dtype)

    torch.set_default_dtype(torch.float64)
    try:
        threads = [threading.Thread(target=f) for f in (compute_first, compute_second)]
        for thread in threads:
            thread.start()
        threads[1].join(0.2)
        may_end.set()
        for thread in threads:
            thread.join(30)
        assert dtypes == [torch.float32]
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
