"""Executors: Prefect task runners on threads, a local Dask cluster or an existing one."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from importlib import import_module
from queue import SimpleQueue
from typing import Any

from prefect import Task
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from fastif import InputError
from flows.executor_config import (
    AnyExecutorConfig,
    LocalDaskConfig,
    RemoteDaskConfig,
    ThreadsConfig,
)
from flows.presence import WorkerPresence
from flows.temporary_server import is_temporary
from tasks.runtime.devices import DEVICES_VARIABLE, Device, split_threads
from tasks.runtime.progress_board import MODE_VARIABLE

REQUIRED_MODULE = "tasks.audit.attribute"
"""Module that workers must be able to import for the first shard."""
CONNECT_TIMEOUT = 30
"""Timeout in seconds of the connection to an existing cluster."""
MAX_WORKER_DEATHS = 2
"""Number of workers that may die during a shard before the shard fails."""


class Executor:
    """A running task runner.

    Args:
        runner: Task runner of Prefect.
        count: Function that returns the number of concurrent tasks; a cluster can grow.
        annotate: Context manager around every submission, for resource annotations.
        remote: Whether single tasks also run on a worker, instead of in this process.
    """

    def __init__(
        self,
        runner: TaskRunner,
        count: Callable[[], int],
        annotate: Callable[[], AbstractContextManager] = nullcontext,
        remote: bool = False,
    ) -> None:
        self.count = count
        self._runner, self._annotate, self.remote = runner, annotate, remote

    def submit(self, task: Task, **parameters: Any) -> PrefectFuture:
        """Submit a task to a worker."""
        with self._annotate():
            return self._runner.submit(task, parameters=parameters)

    def call(self, task: Task, **parameters: Any) -> Any:
        """Run a single task and wait for its result.

        Raises:
            InputError: no worker is left.
        """
        if not self.remote:
            return task(**parameters)
        results: SimpleQueue[PrefectFuture] = SimpleQueue()
        self.submit(task, **parameters).add_done_callback(results.put)
        return WorkerPresence(self.count).wait(results).result()


@contextmanager
def start_executor(
    engine: AnyExecutorConfig, devices: Sequence[Device], shards: int
) -> Iterator[Executor]:
    """Start an executor for the duration of the block.

    Args:
        engine: Configuration of the executor.
        devices: Devices of this machine, one per worker.
        shards: Upper limit of the useful workers, such as the number of shards.

    Raises:
        InputError: Dask without a Prefect server or without its packages; a cluster that does not
            respond, or has no worker with the required resource.
    """
    starter = {
        ThreadsConfig: _start_threads,
        LocalDaskConfig: _start_local_dask,
        RemoteDaskConfig: _connect_dask,
    }[type(engine)]
    with starter(engine, devices, max(1, shards)) as executor:
        yield executor


@contextmanager
def _start_threads(_: ThreadsConfig, devices: Sequence[Device], shards: int) -> Iterator[Executor]:
    """Start one thread per device; they divide torch's threads."""
    count = min(len(devices), shards)
    with split_threads(count), ThreadPoolTaskRunner(max_workers=count) as runner:
        yield Executor(runner, lambda: count)


@contextmanager
def _start_local_dask(
    engine: LocalDaskConfig, devices: Sequence[Device], shards: int
) -> Iterator[Executor]:
    """Start a cluster on the loopback interface, with one device per worker."""
    _check_server()
    dask, distributed, runner_class = _import_dask()
    kind = "GPU" if devices[0].torch.type == "cuda" else "CPU"
    count = min(engine.workers or len(devices), shards)
    limit = int(engine.memory_gb * 2**30) if engine.memory_gb else 0
    common = {"resources": {kind: 1}, "nthreads": 1, "host": "127.0.0.1", "memory_limit": limit}
    workers = {
        number: {
            "cls": distributed.Nanny,
            "options": {**common, "env": _make_environment(devices[number % len(devices)], count)},
        }
        for number in range(count)
    }
    options = {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"}
    scheduler = {"cls": distributed.Scheduler, "options": options}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": MAX_WORKER_DEATHS}),
        distributed.SpecCluster(scheduler=scheduler, workers=workers) as cluster,
        runner_class(cluster=cluster) as runner,
    ):
        annotate = partial(dask.annotate, resources={kind: 1})
        count_slots = partial(_count_slots, runner.client, kind)
        yield Executor(runner, count_slots, annotate, remote=True)


@contextmanager
def _connect_dask(
    engine: RemoteDaskConfig, devices: Sequence[Device], shards: int
) -> Iterator[Executor]:
    """Connect to an existing cluster; refuse one on which tasks would wait forever."""
    _check_server()
    dask, distributed, runner_class = _import_dask()
    security = _make_security(engine, distributed)
    _check_workers(engine, distributed, security)
    keys = {"security": security} if security else {}
    with runner_class(address=engine.address, client_kwargs=keys) as runner:
        annotate = partial(dask.annotate, resources={engine.resource: 1})
        count = partial(_count_slots, runner.client, engine.resource)
        yield Executor(runner, count, annotate, remote=True)


def _make_security(engine: RemoteDaskConfig, distributed: Any) -> Any:
    if not engine.address.startswith("tls://"):
        return None
    files = {
        "tls_ca_file": engine.tls_ca_file,
        "tls_client_cert": engine.tls_cert,
        "tls_client_key": engine.tls_key,
    }
    # Omitted files come from Dask's own configuration; None would disable them.
    given = {name: str(path) for name, path in files.items() if path is not None}
    return distributed.Security(require_encryption=True, **given)


def _check_workers(engine: RemoteDaskConfig, distributed: Any, security: Any) -> None:
    try:
        with distributed.Client(
            engine.address, timeout=CONNECT_TIMEOUT, security=security
        ) as client:
            workers = _list_workers(client)
            slots = _count_slots(client, engine.resource)
            _check_imports(client, engine.resource)
    except (OSError, ValueError, TypeError, TimeoutError) as error:
        raise InputError(
            "engine address",
            f"a Dask scheduler that responds within {CONNECT_TIMEOUT} s",
            f"{type(error).__name__}: {error}",
            "Start one (`dask scheduler`), or correct the address and its certificates.",
        ) from error
    if not slots:
        resources = sorted({name for worker in workers for name in worker["resources"]})
        raise InputError(
            "engine resource",
            f"a worker with the resource {engine.resource}",
            f"{len(workers)} workers with the resources {', '.join(resources) or 'none'}",
            f"Start workers with `dask worker {engine.address} --resources {engine.resource}=1`.",
        )


def _check_imports(client: Any, resource: str) -> None:
    """Refuse workers without this package, which die when they unpickle their first task.

    Raises:
        InputError: workers that cannot import it, with their addresses.
    """
    workers = client.scheduler_info(n_workers=-1).get("workers", {})
    addresses = [
        address for address, worker in workers.items() if worker["resources"].get(resource)
    ]
    if not addresses:
        return
    results = client.run(import_module, REQUIRED_MODULE, workers=addresses, on_error="return")
    failed = {name: error for name, error in results.items() if isinstance(error, BaseException)}
    if failed:
        name, error = next(iter(failed.items()))
        raise InputError(
            "engine address",
            f"workers that can import {REQUIRED_MODULE}",
            f"{len(failed)} of {len(addresses)} that cannot, such as {name}: "
            f"{type(error).__name__}: {error}",
            "Install the same fastif there (run pip install -e . again for an older checkout) and "
            "restart the workers.",
        )


def _count_slots(client: Any, resource: str) -> int:
    """Number of tasks that a cluster can run simultaneously."""
    return sum(int(worker["resources"].get(resource, 0)) for worker in _list_workers(client))


def _list_workers(client: Any) -> list[dict[str, Any]]:
    """Workers of a cluster; empty if the scheduler stopped, which submitted tasks report."""
    return list(client.scheduler_info(n_workers=-1).get("workers", {}).values())


def _make_environment(device: Device, count: int) -> dict[str, str]:
    """Environment of a worker: it sees one device and uses its share of the cores."""
    cores, index = os.cpu_count() or 1, device.torch.index
    visible = {} if index is None else {"CUDA_VISIBLE_DEVICES": f"{index}"}
    return {
        **visible,
        DEVICES_VARIABLE: "auto",
        MODE_VARIABLE: "off",  # the flow reports; lines of workers would garble its bars
        "OMP_NUM_THREADS": f"{max(1, cores // count)}",
    }


def _check_server() -> None:
    """Refuse Dask without a Prefect server: every worker would start a temporary one.

    Raises:
        InputError: no server is configured.
    """
    if not PREFECT_API_URL.value() or is_temporary():
        raise InputError(
            "engine",
            "a Prefect server that workers can reach",
            "none (PREFECT_API_URL is not set)",
            "Run `fastif up`, or set PREFECT_API_URL; --engine threads needs no server.",
        )


def _import_dask() -> tuple[Any, Any, Any]:
    try:
        import dask
        import distributed
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError as error:
        raise InputError(
            "engine", "the packages of Dask", f"{error}", "Run pip install 'fastif[dask]'."
        ) from None
    for name in ("distributed", "bokeh"):  # hide messages of a normal start
        logging.getLogger(name).setLevel(logging.WARNING)
    return dask, distributed, DaskTaskRunner
