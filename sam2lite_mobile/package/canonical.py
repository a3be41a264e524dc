"""Canonical bytes of a .mlpackage: two conversions of one model give the same files.

coremltools 9.0 writes the date of the conversion, random identifiers and protobuf maps in arbitrary order; a program
that came through torch.export also brings a debug mapping. The weights and the content of the specification are the
same every time (measured over processes and hash seeds), so nothing that the model computes is touched here.
"""

from __future__ import annotations

import uuid
from pathlib import Path, PurePosixPath

import msgspec
from msgspec import structs

from sam2lite_mobile.errors import PackageError, explain
from sam2lite_mobile.package.files import write_file
from sam2lite_mobile.package.interface import PACKAGE_MANIFEST, read_items, read_spec, spec_path
from sam2lite_mobile.package.manifest import FileEntry
from sam2lite_mobile.package.tree import FILE_MODE, FOLDER_MODE, list_files, tree_sha256, walk

CONVERSION_DATE = "com.github.apple.coremltools.conversion_date"
DEBUG_MAPPING = "executorch_debug_handle_mapping.json"
ITEM_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://developer.apple.com/documentation/coreml/mlpackage")


def canonicalize_mlpackage(path: Path) -> str:
    """Rewrite the package at `path` in place, each file atomically; gives back its `tree_sha256`.

    Doing it twice changes nothing. File modes become 0644 and 0755; times are not part of it. Raises PackageError for
    a package that cannot be read, or that holds a file which its Manifest.json does not name.
    """
    model_path = spec_path(path)
    model = read_spec(model_path)
    model.description.metadata.userDefined.pop(CONVERSION_DATE, None)
    write_file(model_path, model.SerializeToString(deterministic=True))
    (path / DEBUG_MAPPING).unlink(missing_ok=True)
    write_file(path / PACKAGE_MANIFEST, _canonical_items(path))
    path.chmod(FOLDER_MODE)
    for item in walk(path):
        (path / item.path).chmod(FOLDER_MODE if item.kind == "folder" else FILE_MODE)
    return tree_sha256(list_files(path))


def _canonical_items(path: Path) -> bytes:
    """Manifest.json with identifiers that follow from what each item is and holds, sorted, in one spelling."""
    items = read_items(path)
    files = list_files(path / "Data")
    named: set[str] = set()
    identifiers = {}
    for identifier, item in items.item_info_entries.items():
        held = _files_of(item.path, files)
        named.update(entry.path for entry in held)
        content = "\n".join((item.author, item.name, item.path, tree_sha256(held)))
        identifiers[identifier] = str(uuid.uuid5(ITEM_NAMESPACE, content))
    outside = {entry.path for entry in list_files(path)} - {PACKAGE_MANIFEST} - {f"Data/{name}" for name in named}
    if outside:
        raise PackageError(
            explain(
                str(path),
                expected="only files that its Manifest.json names",
                got=", ".join(sorted(outside)),
                do="remove them, or convert the graph again",
            )
        )
    renamed = structs.replace(
        items,
        item_info_entries={identifiers[key]: item for key, item in items.item_info_entries.items()},
        root_model_identifier=identifiers[items.root_model_identifier],
    )
    return msgspec.json.format(msgspec.json.encode(renamed, order="sorted"), indent=4) + b"\n"


def _files_of(item_path: str, files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
    """The files that an item of Manifest.json stands for: the file itself, or everything below the folder."""
    item = PurePosixPath(item_path)
    return tuple(
        entry for entry in files if item == PurePosixPath(entry.path) or item in PurePosixPath(entry.path).parents
    )
