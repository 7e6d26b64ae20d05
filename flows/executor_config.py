"""Configuration records of the executors that run the tasks of an audit.

They are started in `flows.executors`, so that this module does not import Prefect.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from fastif import InputError


class ExecutorConfig(BaseModel):
    """Base class of executor configurations, which Prefect shows as a form."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ThreadsConfig(ExecutorConfig):
    """Threads of the flow's process; each leases a device for every shard."""

    kind: Literal["threads"] = "threads"


class LocalDaskConfig(ExecutorConfig):
    """Dask worker processes on this machine, each with one device and the model in memory."""

    kind: Literal["dask"] = "dask"
    workers: Annotated[int, Field(ge=1)] | None = None
    """number of worker processes; one per device if omitted"""
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    """memory limit per worker; a worker above it is restarted and its shard computed again"""


class RemoteDaskConfig(ExecutorConfig):
    """Existing Dask cluster; its workers need access to the study's files and the store."""

    kind: Literal["dask-address"] = "dask-address"
    address: Annotated[str, Field(pattern=r"^(tcp|tls)://.+:\d+$")]
    """address of the scheduler, such as tcp://10.0.0.5:8786; tls:// uses the three files below"""
    resource: Literal["CPU", "GPU"] = "CPU"
    """resource that a worker must have to receive shards: dask worker ... --resources GPU=1"""
    tls_ca_file: Path | None = None
    """certificate authority of the cluster's certificates"""
    tls_cert: Path | None = None
    """certificate of this client"""
    tls_key: Path | None = None
    """private key of this client"""


AnyExecutorConfig = Annotated[
    ThreadsConfig | LocalDaskConfig | RemoteDaskConfig, Field(discriminator="kind")
]


def parse_executor(text: str) -> ThreadsConfig | LocalDaskConfig | RemoteDaskConfig:
    """Parse the option `--engine`: threads, dask, dask:WORKERS, or a scheduler's address.

    Raises:
        InputError: another value.

    >>> parse_executor("dask:2")
    LocalDaskConfig(kind='dask', workers=2, memory_gb=None)
    """
    name, _, rest = text.partition(":")
    if text == "threads":
        return ThreadsConfig()
    if name == "dask" and (not rest or (rest.isdecimal() and int(rest) >= 1)):
        return LocalDaskConfig(workers=int(rest) if rest else None)
    if name in ("tcp", "tls") and rest.rpartition(":")[2].isdecimal():
        return RemoteDaskConfig(address=text)
    raise InputError(
        "--engine",
        "threads, dask, dask:WORKERS, or the address of a Dask scheduler",
        text,
        "For example: --engine dask:2, or --engine tcp://10.0.0.5:8786.",
    )
