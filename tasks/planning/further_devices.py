"""Further devices of a shard's scan: the free ones of the run, leased while nothing else waits."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastif.attribution.row_parts import WHOLE, RowParts
from fastif.attribution.scan_device import FurtherDevices, ScanDevice
from fastif.numerics.out_of_memory import free_cache
from tasks.planning.open_run import open_run
from tasks.run.context import RunContext
from tasks.runtime.devices import DEVICE_LEASES, Device, resolve_devices
from tasks.runtime.progress import join_part, print_line


class LeasedDevices(FurtherDevices):
    """Devices of the run that no shard uses, each with the models that it loads from the study.

    A device joins once it has been free for a moment, and leaves after its batch if a shard waits
    for it. One that has failed joins no scan of this shard again.

    Args:
        context: Context of the run on the device of the shard.
        parts: Part of the training rows to scan.
    """

    def __init__(self, context: RunContext, parts: RowParts = WHOLE) -> None:
        self.parts = parts
        self._ref = context.plan.ref
        self._devices = resolve_devices(context.study.run.devices)
        self._failed: set[Device] = set()
        self._show_rows = join_part()
        self.count = len(self._devices) - 1

    @contextmanager
    def lease(self) -> Iterator[ScanDevice | None]:
        usable = [device for device in self._devices if device not in self._failed]
        with DEVICE_LEASES.lease_idle(usable) as device:
            if device is None:
                yield None
                return
            try:
                with self._show_rows():
                    members = open_run(self._ref, device).averaged_members
                    objectives = [member.objective for member in members]
                    yield ScanDevice(device.name, objectives, DEVICE_LEASES.is_waited_for)
            except Exception:
                self._failed.add(device)
                raise
            finally:
                free_cache()

    def report_failure(self, error: Exception) -> None:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        print_line(f"A device left the scan, its rows are scanned by the others: {reason}")
