"""The checks of a package's files: safe paths, nothing missing, nothing added, every byte as declared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sam2lite_mobile.errors import PackageError
from sam2lite_mobile.package.manifest import MANIFEST_NAME, FileEntry, Manifest
from sam2lite_mobile.package.report import Check, compare, failed, passed
from sam2lite_mobile.package.tree import folded, path_fault, sha256_file, tree_sha256, walk

_REPLACE = "take the package from its source again, or build it again"


@dataclass(frozen=True)
class PackageLimits:
    """How much a package may hold before it is refused unread. The largest build of this toolkit stays far below."""

    files: int = 4096
    file_bytes: int = 2 * 2**30
    total_bytes: int = 8 * 2**30


DEFAULT_LIMITS = PackageLimits()


def listed_files(manifest: Manifest) -> tuple[FileEntry, ...]:
    """Every file that the manifest gives a hash for, with its path from the package's root."""
    in_graphs = (
        FileEntry(path=f"{graph.path}/{entry.path}", sha256=entry.sha256, bytes=entry.bytes)
        for graph in manifest.graphs
        for entry in graph.files
    )
    return (*manifest.files, *in_graphs)


def check_paths(manifest: Manifest, *, limits: PackageLimits) -> Iterator[Check]:
    """Paths stay inside the package and apart from each other on every file system; counts and sizes are in bounds."""
    entries = listed_files(manifest)
    if len(entries) > limits.files:
        yield failed("paths", "number of files", expected=f"at most {limits.files}", got=len(entries), do=_REPLACE)
        return
    total = sum(entry.bytes for entry in entries)
    if total > limits.total_bytes:
        yield failed("paths", "bytes of all files", expected=f"at most {limits.total_bytes}", got=total, do=_REPLACE)
    seen: dict[str, str] = {}
    for path in (MANIFEST_NAME, *manifest.copies, *(entry.path for entry in entries)):
        fault = path_fault(path)
        if fault is not None:
            yield failed("paths", path, expected="a path inside the package", got=fault, do=_REPLACE)
            continue
        other = seen.setdefault(folded(path), path)
        if other != path:
            yield failed("paths", path, expected="a path of its own", got=f"{other} where case is ignored", do=_REPLACE)
        else:
            yield passed("paths", path, expected="a path of its own inside the package")
    alone = {entry.path for entry in manifest.files}
    for graph in manifest.graphs:
        if not graph.files and graph.path not in alone:
            yield failed("paths", graph.path, expected="a file that the manifest lists", got="none", do=_REPLACE)
    yield from _repeated(path for path in (*manifest.copies, *(entry.path for entry in entries)))
    for entry in entries:
        if entry.bytes > limits.file_bytes:
            yield failed(
                "paths", entry.path, expected=f"at most {limits.file_bytes} bytes", got=entry.bytes, do=_REPLACE
            )


def _repeated(paths: Iterator[str]) -> Iterator[Check]:
    seen = {MANIFEST_NAME}
    for path in paths:
        if path in seen:
            yield failed("paths", path, expected="one entry", got="several", do=_REPLACE)
        seen.add(path)


def check_tree(folder: Path, manifest: Manifest, *, limits: PackageLimits) -> Iterator[Check]:
    """The folder holds exactly the listed files, each of them plain, and no folder without one."""
    expected = {MANIFEST_NAME, *manifest.copies, *(entry.path for entry in listed_files(manifest))}
    parents = {str(parent) for path in expected for parent in PurePosixPath(path).parents}
    found = set()
    for count, item in enumerate(walk(folder)):
        if count > 4 * limits.files:
            yield failed("tree", str(folder), expected=f"at most {limits.files} files", got="many more", do=_REPLACE)
            return
        if item.kind in ("symbolic link", "special file"):
            found.add(item.path)
            yield failed("tree", item.path, expected="a plain file", got=f"a {item.kind}", do=_REPLACE)
        elif item.kind == "folder":
            if item.path not in parents:
                yield failed("tree", item.path, expected="no folder of this name", got="a folder", do="remove it")
        elif item.path not in expected:
            yield failed("tree", item.path, expected="no file of this name", got="a file", do="remove it, verify again")
        else:
            found.add(item.path)
            yield passed("tree", item.path, expected="a listed plain file")
    for path in sorted(expected - found):
        yield failed("tree", path, expected="a file", got="nothing", do=_REPLACE)


def check_hashes(folder: Path, manifest: Manifest) -> Iterator[Check]:
    """Length and SHA-256 of every listed file, the hash of each graph's folder, and equal copies of the manifest."""
    for entry in listed_files(manifest):
        yield _check_file(folder / entry.path, entry)
    alone = {entry.path: entry for entry in manifest.files}
    for graph in manifest.graphs:
        if not graph.files:  # a file of its own, hashed above
            entry = alone[graph.path]
            yield compare("files", f"{graph.path} bytes", expected=graph.bytes, got=entry.bytes, do=_REPLACE)
            what = f"{graph.path} tree_sha256"
            yield compare("files", what, expected=graph.tree_sha256, got=entry.sha256, do=_REPLACE)
            continue
        total = sum(entry.bytes for entry in graph.files)
        yield compare("files", f"{graph.path} bytes", expected=graph.bytes, got=total, do=_REPLACE)
        digest = tree_sha256(graph.files)
        yield compare("files", f"{graph.path} tree_sha256", expected=graph.tree_sha256, got=digest, do=_REPLACE)
    original = sha256_file(folder / MANIFEST_NAME)
    for path in manifest.copies:
        try:
            digest = sha256_file(folder / path)
        except PackageError as error:
            yield failed("files", path, expected=f"a copy of {MANIFEST_NAME}", got=error, do=_REPLACE)
            continue
        yield compare("files", f"{path} as a copy of {MANIFEST_NAME}", expected=original, got=digest, do=_REPLACE)


def _check_file(path: Path, entry: FileEntry) -> Check:
    try:
        length = path.lstat().st_size
        if length != entry.bytes:  # before hashing: never read more than was declared
            return failed("files", entry.path, expected=f"{entry.bytes} bytes", got=f"{length} bytes", do=_REPLACE)
        digest = sha256_file(path)
    except (PackageError, OSError) as error:
        return failed("files", entry.path, expected="a readable file", got=error, do=_REPLACE)
    return compare("files", entry.path, expected=f"sha256 {entry.sha256}", got=f"sha256 {digest}", do=_REPLACE)
