"""Atomic writes: after a crash, a kill or a full disk there is the old file or folder, or the new one, never a mix.

A file goes through a temporary file in its folder and `os.replace`. A folder is built in a hidden sibling, flushed to
disk and exchanged with the old one in one step. Where the system has no such step, a journal beside the folder names
what two renames are about to do; whatever opens the folder next (a build, `verify_package`) finishes them.

Siblings of a folder `ios`, all hidden: `.ios.staging-*` a build under way, `.ios.retired` the old folder on its way
out, `.ios.swap` the journal. One build at a time writes beside a folder: the parent folder is locked meanwhile, so
whatever siblings a build finds belong to dead ones, and it removes them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sam2lite_mobile.errors import PackageError, explain
from sam2lite_mobile.package.exchange import exchange_folders
from sam2lite_mobile.package.tree import FILE_MODE, FOLDER_MODE, walk

LOCK_WAIT_S = 60.0
_LOCK_POLL_S = 0.1


def write_file(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that the old content or the new one is there at any moment; mode 0644."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), FILE_MODE)
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync(path.parent)


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside `target` that takes its place when the block ends well, and is removed when it does not.

    `target` may be missing; its parent is made. File modes become 0644 and 0755. Raises PackageError where `target` is
    a link or a file, or where another build holds the parent folder for longer than LOCK_WAIT_S; OSError from the disk.
    """
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise PackageError(
            explain(str(target), expected="a folder or nothing", got="a file or a symbolic link", do="choose another")
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.parent):
        _finish_swap(target)
        _remove_leftovers(target)
        staging = Path(tempfile.mkdtemp(prefix=_staging_prefix(target), dir=target.parent))
        try:
            yield staging
            _settle(staging)
            _put_in_place(staging, target)
        finally:
            _remove_leftovers(target)


def recover_folder(target: Path) -> None:
    """Finish an exchange that was interrupted between its two renames; nothing to do in every other case."""
    if _journal(target).exists():
        with _locked(target.parent):
            _finish_swap(target)
            _remove_leftovers(target)


def _put_in_place(staging: Path, target: Path) -> None:
    if not target.exists():
        os.rename(staging, target)
    elif not exchange_folders(staging, target):
        # The journal is written when the new folder is complete and on disk: from here on only forward.
        write_file(_journal(target), staging.name.encode())
        try:
            _finish_swap(target)
        except OSError:
            _undo_swap(target)
            raise
    _sync(target.parent)


def _finish_swap(target: Path) -> None:
    """Complete the exchange that the journal names, from whichever step it stopped at."""
    journal, retired = _journal(target), _retired(target)
    if not journal.exists():
        return
    name = journal.read_text()
    if not name.startswith(_staging_prefix(target)) or "/" in name:
        raise PackageError(
            explain(
                str(journal),
                expected="the name of a staging folder",
                got=repr(name),
                do=f"remove it, and verify {target}",
            )
        )
    staging = target.with_name(name)
    if staging.is_dir():
        if target.exists():
            if retired.exists():  # left from an exchange that was complete but not cleaned up
                shutil.rmtree(retired)
            os.rename(target, retired)
        os.rename(staging, target)
        _sync(target.parent)
    elif not target.exists() and retired.exists():
        os.rename(retired, target)
    journal.unlink()
    _sync(target.parent)


def _undo_swap(target: Path) -> None:
    """After a rename that failed: the old folder back in its place, the journal gone."""
    if not target.exists() and _retired(target).exists():
        os.rename(_retired(target), target)
    _journal(target).unlink(missing_ok=True)


def _remove_leftovers(target: Path) -> None:
    """Remove what dead builds left beside `target`; call with the lock held and no journal."""
    if _journal(target).exists():
        return
    for sibling in sorted(target.parent.iterdir()):
        if sibling == _retired(target) or sibling.name.startswith(_staging_prefix(target)):
            shutil.rmtree(sibling)
        elif sibling.name.startswith(f".{_journal(target).name}."):  # the temporary file of a journal never written
            sibling.unlink()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold `folder` against other builds. The lock ends with the process, however that ends, and leaves no file."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise PackageError(
                        explain(
                            str(folder),
                            expected=f"no other build within {LOCK_WAIT_S:.0f} s",
                            got="one that still writes there",
                            do="wait for it to end, then run this again",
                        )
                    ) from error
                time.sleep(_LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _settle(folder: Path) -> None:
    """Fixed modes, and everything on disk: files first, then the folders that name them."""
    for item in walk(folder):
        path = folder / item.path
        if item.kind not in ("file", "folder"):
            raise PackageError(
                explain(str(path), expected="files and folders only", got=f"a {item.kind}", do="write the file itself")
            )
        os.chmod(path, FOLDER_MODE if item.kind == "folder" else FILE_MODE)
        _sync(path)
    os.chmod(folder, FOLDER_MODE)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _staging_prefix(target: Path) -> str:
    return f".{target.name}.staging-"


def _journal(target: Path) -> Path:
    return target.with_name(f".{target.name}.swap")


def _retired(target: Path) -> Path:
    return target.with_name(f".{target.name}.retired")
