"""Block of `fastif doctor --report` for a bug report: no paths, names, texts or secrets."""

import json
import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from storage import Store, StoreError
from tasks.run.existing_store import open_existing_store
from tasks.runtime.devices import resolve_devices
from tasks.runtime.last_error import read_last_error
from tasks.runtime.versions import read_processor_name, read_versions
from tasks.study.device_names import AUTO
from tasks.study.errors import StudyError
from tasks.study.study import Study, load_study

OPTIONAL = ("faiss-cpu", "faiss-gpu", "datasets", "dask", "s3fs", "pillow")
CHOICES = frozenset({"kind", "precision", "preconditioner", "preset", "weight_decay_kind"})
"""Keys whose texts are words of fastif; every other text may be private."""
VARIABLES = ("FASTIF_", "PREFECT_API_URL", "OMP_", "MKL_", "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE")
GIGABYTE = 2**30


def render_bug_report(study: Path | None) -> str:
    """Render the block; of a study only the sections with their numbers and choices."""
    lines = [*_describe_machine(), *(_describe_study(study) if study else ["study: none"])]
    lines.append(f"last error: {read_last_error() or 'none recorded'}")
    return "\n".join(["```", *lines, "```"])


def _describe_machine() -> Iterator[str]:
    versions = {"fastif": version("fastif"), **read_versions()}
    for name in OPTIONAL:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    yield f"versions: {', '.join(f'{name} {number}' for name, number in versions.items())}"
    yield f"platform: {platform.platform()}, {read_processor_name()}"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGABYTE
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield f"cores: {usable} usable of {os.cpu_count()}; memory: {memory:.1f} GB"
    yield f"devices: {', '.join(device.description for device in resolve_devices(AUTO))}"
    names = sorted(name for name in os.environ if name.startswith(VARIABLES))
    yield f"variables that are set: {', '.join(names) or 'none'}"


def _describe_study(path: Path) -> Iterator[str]:
    try:
        study = load_study(path)
    except StudyError as error:
        places = "; ".join(f"{problem.where}: {problem.expected}" for problem in error.problems)
        yield f"study: refused, {places}"
        return
    yield "study:"
    for section, values in study.model_dump(mode="json", exclude_unset=True).items():
        yield f"  {section}: {json.dumps(_mask(section, values), ensure_ascii=False)}"
    yield from _describe_store(study)


def _mask(key: str, value: Any) -> Any:
    """Replace texts that may be private by the number of their characters."""
    if isinstance(value, dict):
        return {name: _mask(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list):
        return f"({len(value)} entries)" if key not in ("of",) else [_mask(key, v) for v in value]
    if isinstance(value, str) and key not in CHOICES and value != AUTO:
        return f"(text of {len(value)} characters)"
    return value


def _describe_store(study: Study) -> Iterator[str]:
    """Describe the runs of the store by their state and size."""
    kind = "bucket" if "://" in study.store.path else "folder"
    try:
        store: Store = open_existing_store(study)
        runs = store.list_runs()
    except StoreError as error:
        yield f"store: {kind}, not readable: expected {error.expected}"
        return
    yield f"store: {kind}, {len(runs)} runs, the newest first"
    for status in runs:
        state = "damaged" if status.is_damaged else "finished" if status.finished else "unfinished"
        record = status.record
        yield (
            f"  {record.fingerprint[:10]}: {state}, {status.done}/{status.planned} shards, "
            f"{record.query_rows} queries, {record.train_rows} training rows"
        )
