"""Folders as lists of plain files: safe relative paths, hashes, copies. Nothing here follows a symbolic link."""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sam2lite_mobile.errors import PackageError, explain
from sam2lite_mobile.package.manifest import FileEntry

FILE_MODE, FOLDER_MODE = 0o644, 0o755
_CHUNK = 1 << 20


@dataclass(frozen=True)
class TreeItem:
    """One thing found in a folder: its path relative to the folder ('/' between parts) and what it is."""

    path: str
    kind: str
    """`file`, `folder`, `symbolic link` or `special file`."""


def walk(folder: Path) -> Iterator[TreeItem]:
    """Everything below `folder`, sorted by name within each folder, symbolic links reported and not followed."""
    pending = [""]
    while pending:
        below = pending.pop()
        with os.scandir(folder / below) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            path = f"{below}/{entry.name}" if below else entry.name
            if entry.is_symlink():
                yield TreeItem(path, "symbolic link")
            elif entry.is_dir(follow_symlinks=False):
                yield TreeItem(path, "folder")
                pending.append(path)
            else:
                yield TreeItem(path, "file" if entry.is_file(follow_symlinks=False) else "special file")


def path_fault(path: str) -> str | None:
    """Why `path` may not stand in a manifest, or None: it must stay inside its folder on every file system.

    Refused: absolute paths, drive letters, backslashes, empty parts, `.`, `..`, control characters, names that are not
    in Unicode form C (macOS would store another one).
    """
    if path.startswith("/"):
        return "an absolute path"
    if "\\" in path or ":" in path:
        return "a backslash or a colon"
    if any(unicodedata.category(character).startswith("C") for character in path):
        return "a control character"
    if unicodedata.normalize("NFC", path) != path:
        return "a name that is not in Unicode form C"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "an empty part, '.' or '..'"
    return None


def folded(path: str) -> str:
    """`path` as a file system without case sees it: two paths with one folded form collide there."""
    return unicodedata.normalize("NFC", path.casefold())


def open_regular_file(path: Path) -> int:
    """A read-only descriptor of a regular file. Raises PackageError for a link, folder, device, pipe or no file."""
    try:
        # O_NONBLOCK: opening a pipe must not wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _not_a_file(path, error.strerror or str(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_a_file(path, "something that is not a regular file")
    return descriptor


def read_regular_file(path: Path, *, max_bytes: int) -> bytes:
    """At most the first `max_bytes` bytes of a regular file. Raises PackageError as open_regular_file does."""
    with open(open_regular_file(path), "rb") as file:
        return file.read(max_bytes)


def sha256_file(path: Path) -> str:
    """SHA-256 of a regular file, hex. Raises PackageError as open_regular_file does."""
    digest = hashlib.sha256()
    with open(open_regular_file(path), "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def list_files(folder: Path) -> tuple[FileEntry, ...]:
    """Path (relative to `folder`), SHA-256 and length of every file below it, sorted by path.

    Raises PackageError where the folder holds anything but folders and regular files.
    """
    entries = []
    for item in walk(folder):
        if item.kind == "folder":
            continue
        if item.kind != "file":
            raise _not_a_file(folder / item.path, f"a {item.kind}")
        path = folder / item.path
        entries.append(FileEntry(path=item.path, sha256=sha256_file(path), bytes=path.stat().st_size))
    return tuple(sorted(entries, key=lambda entry: entry.path))


def tree_sha256(files: Iterable[FileEntry]) -> str:
    """One hash for a folder: SHA-256 over the lines `<sha256>  <path>\\n` (as `sha256sum` prints), sorted by path."""
    lines = (f"{entry.sha256}  {entry.path}\n" for entry in sorted(files, key=lambda entry: entry.path))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def copy_folder(source: Path, target: Path) -> None:
    """Copy the regular files of `source` to the new folder `target`, modes 0644 and 0755.

    Raises PackageError where `source` is no folder, or holds anything but folders and regular files.
    """
    if source.is_symlink() or not source.is_dir():
        raise PackageError(
            explain(str(source), expected="a folder", got="something else or nothing", do="check the path")
        )
    target.mkdir(FOLDER_MODE)
    for item in walk(source):
        if item.kind == "folder":
            (target / item.path).mkdir(FOLDER_MODE)
        elif item.kind == "file":
            copy_file(source / item.path, target / item.path)
        else:
            raise _not_a_file(source / item.path, f"a {item.kind}")


def copy_file(source: Path, target: Path) -> None:
    """Copy one regular file to the new file `target`, mode 0644. Raises PackageError as open_regular_file does."""
    with open(open_regular_file(source), "rb") as reader, open(target, "xb") as writer:
        while chunk := reader.read(_CHUNK):
            writer.write(chunk)
    target.chmod(FILE_MODE)


def _not_a_file(path: Path, got: str) -> PackageError:
    return PackageError(explain(str(path), expected="a regular file", got=got, do="replace it by the file itself"))
