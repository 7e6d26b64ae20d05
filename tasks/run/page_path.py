"""Path of the report page of a run, without what a report needs to be built."""

from pathlib import Path

from storage.uri import is_remote


def make_page_path(store_root: Path, folder: Path, run: str) -> Path:
    """Path of a run's report page: next to a local store, or next to the study of a remote one.

    Args:
        store_root: Root of the store, a folder or a URI.
        folder: Folder of the study file.
        run: Name of the run.
    """
    parent = folder if is_remote(store_root) else Path(store_root).parent
    return parent / "reports" / f"{run}.html"
