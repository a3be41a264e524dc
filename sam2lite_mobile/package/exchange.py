"""Exchange two folders in one step of the file system, where the system can.

`os.replace` cannot put a folder in the place of one that is not empty. Linux and macOS have a call that swaps two
names atomically: renameat2(RENAME_EXCHANGE), renamex_np(RENAME_SWAP). Python offers neither.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

_AT_FDCWD = -100  # linux/fcntl.h
_RENAME_EXCHANGE = 2  # linux/fs.h
_RENAME_SWAP = 2  # sys/stdio.h on macOS

_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Old kernel; file system without the flag; macOS file systems without the capability."""


def exchange_folders(first: Path, second: Path) -> bool:
    """True after the two existing paths have traded places atomically; False, nothing changed, where that is unknown.

    Raises OSError for every other reason (no permission, another file system, a path that is missing).
    """
    library = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin":
        call = getattr(library, "renamex_np", None)
        arguments: tuple[object, ...] = (os.fsencode(first), os.fsencode(second), ctypes.c_uint(_RENAME_SWAP))
    else:
        call = getattr(library, "renameat2", None)  # glibc 2.28, musl 1.2.5
        arguments = (_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), ctypes.c_uint(_RENAME_EXCHANGE))
    if call is None:
        return False
    if call(*arguments) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(first), None, str(second))
