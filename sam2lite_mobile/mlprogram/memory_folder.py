"""A folder of files as one block of bytes: how a program of ExecuTorch's Core ML delegate carries its .mlpackage.

Layout (executorch/backends/apple/coreml/runtime/inmemoryfs): the bytes of all files one after another, then a JSON
object that lists files and folders, written backwards, so that a reader can begin at the end. A folder names its
children by their place in the list, and comes behind them; the last entry is the root.

The bytes are untrusted: sizes and counts have limits, no entry is reached twice, and no name leads out of the folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sam2lite_mobile.errors import PackageError, explain

ROOT_NAME = "lowered_module"
MAX_ENTRIES = 64
"""A .mlpackage has four files in four folders."""
MAX_LIST_BYTES = 1 << 16
MAX_BYTES = 1 << 30
_FILE, _FOLDER = 0, 1


def read_folder(data: bytes, *, where: str) -> dict[str, bytes]:
    """The files in `data`: path with '/' between parts -> content. Raises PackageError for what is no such folder."""
    if not 0 < len(data) <= MAX_BYTES:
        raise _broken(where, f"1 to {MAX_BYTES} bytes", len(data))
    backwards = data[-MAX_LIST_BYTES:][::-1].decode("latin-1")
    try:
        content, length = json.JSONDecoder().raw_decode(backwards)
        entries = content["nodes"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _broken(where, "a list of files at its end", "something else") from error
    if not isinstance(entries, list) or not 0 < len(entries) <= MAX_ENTRIES:
        raise _broken(where, f"a list of 1 to {MAX_ENTRIES} files and folders", "another")
    files: dict[str, bytes] = {}
    _collect(entries, len(entries) - 1, "", set(), memoryview(data)[: len(data) - length], files, where)
    return files


def write_folder(files: Mapping[str, bytes]) -> bytes:
    """The folder of these files (path -> content) as bytes; equal files give equal bytes."""
    data = bytearray()
    entries: list[dict[str, Any]] = []
    _append(_tree(files), ROOT_NAME, data, entries)
    listed = json.dumps({"nodes": entries}, separators=(",", ":"))
    return bytes(data) + listed.encode("ascii")[::-1]


def extract_folder(data: bytes, folder: Path, *, where: str) -> None:
    """Write the files in `data` below the empty `folder`. Raises PackageError as `read_folder` does."""
    for path, content in read_folder(data, where=where).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _collect(
    entries: list[Any],
    place: int,
    path: str,
    seen: set[int],
    data: memoryview,
    files: dict[str, bytes],
    where: str,
) -> None:
    """Add the file at `place`, or the files of the folder at `place`, to `files`."""
    if place in seen:
        raise _broken(where, "each entry in one folder", f"entry {place} again")
    seen.add(place)
    try:
        entry = entries[place]
        kind, children, region = entry["kind"], entry["children"], entry["dataRegion"]
        start, size = region["offset"], region["size"]
        named = dict(children)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _broken(where, "an entry with kind, children and data", f"entry {place}") from error
    if kind == _FILE:
        if not all(type(value) is int for value in (start, size)) or start < 0 or size < 0 or start + size > len(data):
            raise _broken(where, f"data within {len(data)} bytes", f"{size} at {start} ({path or 'root'})")
        if not path:
            raise _broken(where, "a folder at the end of the list", "a file")
        files[path] = bytes(data[start : start + size])
        return
    if kind != _FOLDER:
        raise _broken(where, "files and folders", f"kind {kind!r}")
    for name, child in sorted(named.items()):
        if not _is_plain(name):
            raise _broken(where, "names without a path", repr(name)[:100])
        if type(child) is not int or not 0 <= child < place:
            raise _broken(where, "folders behind what they hold", f"entry {place} with child {child!r}")
        _collect(entries, child, f"{path}/{name}" if path else name, seen, data, files, where)


def _is_plain(name: object) -> bool:
    """A name that stays in its folder on every file system."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= 100
        and name not in (".", "..")
        and name.isascii()
        and name.isprintable()
        and not set(name) & set('/\\:"*?<>|')
    )


def _tree(files: Mapping[str, bytes]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for path in sorted(files):
        *folders, name = path.split("/")
        place = root
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = files[path]
    return root


def _append(item: Any, name: str, data: bytearray, entries: list[dict[str, Any]]) -> int:
    """Add a file or folder behind all that it holds; gives back its place in the list."""
    children = {}
    region = {"offset": 0, "size": 0}
    if isinstance(item, dict):
        children = {each: _append(item[each], each, data, entries) for each in sorted(item)}
    else:
        region = {"offset": len(data), "size": len(item)}
        data += item
    kind = _FOLDER if isinstance(item, dict) else _FILE
    entries.append({"children": children, "dataRegion": region, "kind": kind, "name": name})
    return len(entries) - 1


def _broken(where: str, expected: str, got: object) -> PackageError:
    return PackageError(
        explain(f"{where}: Core ML model", expected=expected, got=got, do="convert the graph again with this version")
    )
