"""Where an audit's tasks may run; the study is the same, and so are the answers.

Only records: what starts them is in `flows.executors`, and Prefect is not imported for it.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from fastif import InputError


class ExecutorConfig(BaseModel):
    """An engine's record: the flow's parameter, and the form in Prefect's pages."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ThreadsConfig(ExecutorConfig):
    """Threads of the flow's own process, each with a device leased for a shard."""

    kind: Literal["threads"] = "threads"


class LocalDaskConfig(ExecutorConfig):
    """Processes of this machine under Dask, each with one device and the model resident."""

    kind: Literal["dask"] = "dask"
    workers: Annotated[int, Field(ge=1)] | None = None
    """processes; without it one a device"""
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    """of a worker, which is ended beyond it and its shard computed by another; without it any"""


class RemoteDaskConfig(ExecutorConfig):
    """A Dask cluster that is there already; its workers see the study's files and the store."""

    kind: Literal["dask-address"] = "dask-address"
    address: Annotated[str, Field(pattern=r"^(tcp|tls)://.+:\d+$")]
    """of the scheduler, such as tcp://10.0.0.5:8786; tls:// with the three files below"""
    resource: Literal["CPU", "GPU"] = "CPU"
    """what a worker must offer to be given a shard: dask worker ... --resources GPU=1"""
    tls_ca_file: Path | None = None
    """the authority that signed the cluster's certificates"""
    tls_cert: Path | None = None
    """this client's certificate"""
    tls_key: Path | None = None
    """its key"""


AnyExecutorConfig = Annotated[
    ThreadsConfig | LocalDaskConfig | RemoteDaskConfig, Field(discriminator="kind")
]


def parse_executor(text: str) -> ThreadsConfig | LocalDaskConfig | RemoteDaskConfig:
    """An engine as the command line names it: threads, dask, dask:WORKERS, or an address.

    Raises:
        InputError: none of these.

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
        "Write, say, --engine dask:2, or --engine tcp://10.0.0.5:8786.",
    )
