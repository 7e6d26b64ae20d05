"""Snapshot of a Hugging Face model, from the local cache or downloaded, without torch."""

import json
from pathlib import Path

PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model")
"""Files of a snapshot: weights as safetensors, never pickled ones or code."""
INDEX = "model.safetensors.index.json"


class HubError(Exception):
    """Snapshot that cannot be had, with the reason."""


def split_revision(name: str) -> tuple[str, str | None]:
    """Split the name of a model from the revision after its `@`; None without one.

    >>> split_revision("owner/name@0123abc"), split_revision("owner/name")
    (('owner/name', '0123abc'), ('owner/name', None))
    """
    repository, _, revision = name.partition("@")
    return repository, revision or None


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids requests to the hub."""
    from huggingface_hub import is_offline_mode

    return is_offline_mode()


def fetch_snapshot(name: str, revision: str | None = None) -> Path:
    """Return the folder of a model's snapshot: the newest of the revision, or else the cached one.

    Args:
        name: Name on the hub, as owner/name.
        revision: Branch, tag or commit; the main branch if None.

    Raises:
        HubError: It is neither cached nor can be downloaded, or has no weights as safetensors.
    """
    from huggingface_hub import snapshot_download

    label = name if revision is None else f"{name} at revision {revision}"
    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=list(PATTERNS))
    except Exception as error:  # the hub raises errors of many kinds
        raise HubError(f"{label}, {_describe_failure(error)}") from error
    if missing := _find_missing_weights(Path(folder)):
        raise HubError(f"{label}, whose snapshot {folder} has no {missing}")
    return Path(folder)


def read_commit(snapshot: Path) -> str | None:
    """Return the commit of a snapshot in the cache of the hub; None for another folder."""
    return snapshot.name if snapshot.parent.name == "snapshots" else None


def _describe_failure(error: Exception) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError

    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if not isinstance(error, LocalEntryNotFoundError):
        return f"which the hub does not give ({reason})"
    is_partial = isinstance(error, IncompleteSnapshotError)
    state = "which is incomplete in" if is_partial else "which is not in"
    network = "HF_HUB_OFFLINE is set" if is_offline() else f"the hub cannot be reached ({reason})"
    return f"{state} the cache {constants.HF_HUB_CACHE}, and {network}"


def _find_missing_weights(folder: Path) -> str:
    """Return what is missing of the weights of a snapshot; empty if they are complete."""
    try:
        parts = sorted(set(json.loads((folder / INDEX).read_text("utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        parts = []
    absent = [part for part in parts if not (folder / str(part)).is_file()]
    if absent:
        return f"{absent[0]}, a part of its weights"
    return "" if parts or any(folder.glob("*.safetensors")) else "weights as safetensors"
