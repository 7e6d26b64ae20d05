"""Deferred checks: assumed on a device, read together, and never on the CPU."""

import torch
from device_reads import DeviceReads
from pretended_device import DEVICE, Elsewhere

from fastif.numerics.deferred_checks import assume_all, defer_checks, is_deferred


def test_a_failed_check_is_assumed_and_found_by_the_read():
    with Elsewhere():
        holds, fails = (torch.tensor([True, value]).to(DEVICE) for value in (True, False))
        assert assume_all(holds)
        assert not assume_all(fails), "outside of a deferral it is read at once"
        with defer_checks(DEVICE) as checks:
            with DeviceReads() as counted:
                assert assume_all(holds)
            assert checks.read()
            with counted:
                assert assume_all(fails)
                assert assume_all(holds)
            assert not checks.read(), "a later check does not undo a failed one"
        assert counted.reads == []
        assert not is_deferred(DEVICE)


def test_checks_on_the_cpu_are_read_at_once():
    with Elsewhere(), defer_checks(DEVICE) as checks:
        assert not assume_all(torch.tensor([False]))
        assert checks.read()
    with defer_checks(torch.device("cpu")):
        assert not is_deferred(torch.device("cpu"))
        assert not assume_all(torch.tensor([True, False]))


def test_a_deferral_ends_with_an_error():
    try:
        with Elsewhere(), defer_checks(DEVICE):
            raise RuntimeError
    except RuntimeError:
        assert not is_deferred(DEVICE)
