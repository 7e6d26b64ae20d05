"""Type of `[run] devices`: "auto", or a list of device names."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from tasks.study.errors import Problem, format_value
from tasks.study.validation_errors import make_validation_error

AUTO = "auto"


def _parse_devices(value: Any) -> Any:
    """Parse "auto", one device, or a list of devices of one kind; only "cpu" can repeat."""
    if value == AUTO:
        return AUTO
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names or not all(map(_is_device, names)):
        expected = '"auto", "cpu", "cuda:N", or a list of these'
        change = 'write devices = "auto": every GPU, or the CPU if there is none'
        raise make_validation_error(Problem("", expected, format_value(value), change))
    full_names = tuple("cuda:0" if name == "cuda" else name for name in names)
    if len({name.partition(":")[0] for name in full_names}) > 1:
        change = "use GPUs only, or the CPU only: their results differ in the last digits"
        raise make_validation_error(Problem("", "devices of one kind", format_value(value), change))
    if full_names[0] != "cpu" and len(set(full_names)) < len(full_names):
        change = "remove the duplicate; only the CPU can have several workers"
        raise make_validation_error(Problem("", "each GPU once", format_value(value), change))
    return full_names


def _is_device(name: Any) -> bool:
    return isinstance(name, str) and bool(re.fullmatch(r"cpu|cuda(:(0|[1-9]\d*))?", name))


DeviceNames = Annotated[str | tuple[str, ...], BeforeValidator(_parse_devices)]
"""`"auto"`, or the names of the devices, one for each worker."""
