"""A cache of the Hugging Face hub, laid out by the functions of huggingface_hub."""

import hashlib
import shutil
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.file_download import (
    _cache_commit_hash_for_specific_revision,
    _create_symlink,
    repo_folder_name,
)


class HubCache:
    """Cache in a folder, which is the one of this process while a test runs; no network.

    Args:
        folder: Folder of the cache.
        monkeypatch: Fixture of pytest.
    """

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.folder = folder
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def store(
        self, name: str, source: Path, commit: str, revision: str = "main", without: str = ""
    ) -> Path:
        """Store a folder as a commit of a model; the revision then means this commit."""
        root = self.folder / repo_folder_name(repo_id=name, repo_type="model")
        snapshot = root / "snapshots" / commit
        (root / "blobs").mkdir(parents=True, exist_ok=True)
        snapshot.mkdir(parents=True)
        for file in sorted(path for path in source.iterdir() if path.is_file()):
            if file.name == without:
                continue
            blob = root / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
            shutil.copy(file, blob)
            _create_symlink(str(blob), str(snapshot / file.name))
        _cache_commit_hash_for_specific_revision(str(root), revision, commit)
        return snapshot
