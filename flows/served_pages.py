"""Folders of report pages that the local service shows, and the address of its page server.

Each folder is a file of its own, so that two processes that add folders do not undo each other.
"""

import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

HOST = "127.0.0.1"
KEY_LENGTH = 12


@dataclass(frozen=True)
class PageAddress:
    """Address of the page server.

    Attributes:
        port: Port on the loopback interface.
        token: First part of every path. Other users of the machine reach the port too, but cannot
            read the token.
    """

    port: int
    token: str

    @property
    def url(self) -> str:
        """Address of the list of pages."""
        return f"http://{HOST}:{self.port}/{self.token}/"


@dataclass(frozen=True)
class ServedPages:
    """Record of what the page server shows.

    Attributes:
        folder: Folder of the record, in that of the local service.
    """

    folder: Path

    def read_address(self) -> PageAddress | None:
        """Read the address that was used last; None if there was none."""
        try:
            fields = json.loads((self.folder / "address.json").read_text("utf-8"))
            return PageAddress(int(fields["port"]), str(fields["token"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_address(self, port: int) -> PageAddress:
        """Record a port; the token stays the previous one, so that links stay valid."""
        before = self.read_address()
        address = PageAddress(port, before.token if before else secrets.token_urlsafe(16))
        fields = {"port": address.port, "token": address.token}
        self._write("address.json", json.dumps(fields) + "\n")
        return address

    def add(self, folder: Path) -> None:
        """Add a folder of report pages; nothing changes if it is there."""
        resolved = folder.resolve()
        name = f"{compute_key(resolved)}.folder"
        if not (self.folder / name).exists():
            self._write(name, f"{resolved}\n")

    def list_folders(self) -> dict[str, Path]:
        """Folders of pages by their keys; what another hand has written there is left out."""
        folders = {}
        for path in sorted(self.folder.glob("*.folder")):
            try:
                place = Path(path.read_text("utf-8").removesuffix("\n"))
            except (OSError, ValueError):
                continue
            if place.is_absolute() and path.stem == compute_key(place):
                folders[path.stem] = place
        return folders

    def make_url(self, page: Path) -> str:
        """Return the address of a page in one of the folders; empty if no address is recorded."""
        address, resolved = self.read_address(), page.resolve()
        if address is None:
            return ""
        return f"{address.url}{compute_key(resolved.parent)}/{quote(resolved.name)}"

    def _write(self, name: str, text: str) -> None:
        """Write a file that only its owner can read, atomically."""
        for folder in (self.folder.parent, self.folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temp = self.folder / f".{name}.{secrets.token_hex(4)}.tmp"
        handle = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        temp.replace(self.folder / name)


def compute_key(folder: Path) -> str:
    """Return the key of a folder in addresses: the start of the SHA-256 of its path."""
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:KEY_LENGTH]
