"""Description of the kind of file at a path, for error messages."""

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
    """Describe what is at a path; empty for a regular file.

    >>> describe_path(Path("/")), describe_path(Path("/no/such/file"))
    ('a folder', 'no such file')
    """
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return "a broken symbolic link" if path.is_symlink() else "no such file"
    except OSError as error:
        is_loop = error.errno == errno.ELOOP
        return "a loop of symbolic links" if is_loop else error.strerror or str(error)
    return _KINDS.get(kind, "")
