"""What lies at a path that a user named."""

import errno
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def describe_path(path: Path) -> str:
    """What lies there, in words; empty for a file.

    >>> describe_path(Path("/")), describe_path(Path("/no/such/file"))
    ('a folder', 'nothing there')
    """
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return "a symbolic link to nothing" if path.is_symlink() else "nothing there"
    except OSError as error:
        is_loop = error.errno == errno.ELOOP
        return "symbolic links in a circle" if is_loop else error.strerror or str(error)
    return _KINDS.get(kind, "")
