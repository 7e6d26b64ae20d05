"""Devices that join a scan, and record what fails."""

from contextlib import contextmanager

from fastif.attribution.scan_device import FixedDevices


class Joining(FixedDevices):
    """Devices, whose failures are recorded."""

    def __init__(self, devices, train=None):
        super().__init__(devices)
        self.failures: list[Exception] = []
        self.train = train

    @contextmanager
    def lease(self):
        with super().lease() as device:
            if device is not None and self.train is not None:
                self.train.start()
            yield device

    def report_failure(self, error):
        self.failures.append(error)
