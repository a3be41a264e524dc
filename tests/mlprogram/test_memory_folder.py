"""A folder as one block of bytes: what is written is read, ExecuTorch reads it too, and no damage leads out of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sam2lite_mobile.errors import PackageError
from sam2lite_mobile.mlprogram.memory_folder import MAX_ENTRIES, extract_folder, read_folder, write_folder

FILES = {
    "metadata.json": b"{}",
    "model.mlpackage/Manifest.json": b"{ }",
    "model.mlpackage/Data/weight.bin": bytes(range(9)),
}


def with_list(data: bytes, change: Callable[[list[dict[str, Any]]], object]) -> bytes:
    """The same bytes behind another list of entries."""
    content, length = json.JSONDecoder().raw_decode(data[::-1].decode("latin-1"))
    change(content["nodes"])
    return data[: len(data) - length] + json.dumps(content).encode()[::-1]


def test_files_come_back_and_their_order_does_not_matter() -> None:
    data = write_folder(FILES)
    assert read_folder(data, where="x") == FILES
    assert write_folder(dict(reversed(FILES.items()))) == data


def test_executorch_reads_what_is_written_and_is_read_in_turn(tmp_path: Path) -> None:
    native = pytest.importorskip("executorch.backends.apple.coreml.executorchcoreml", reason="needs executorch")
    assert native.unflatten_directory_contents(write_folder(FILES), str(tmp_path))
    (root,) = tmp_path.iterdir()
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert found == FILES
    assert read_folder(native.flatten_directory_contents(str(root)), where="x") == FILES


def test_extraction_writes_the_files_below_the_folder(tmp_path: Path) -> None:
    extract_folder(write_folder(FILES), tmp_path, where="x")
    assert (tmp_path / "model.mlpackage" / "Data" / "weight.bin").read_bytes() == bytes(range(9))


def rename_child(name: str) -> Callable[[list[dict[str, Any]]], object]:
    def change(entries: list[dict[str, Any]]) -> None:
        entries[-1]["children"][name] = entries[-1]["children"].pop("metadata.json")

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_child("../outside"), "names without a path"),
        (rename_child(".."), "names without a path"),
        (rename_child("/etc"), "names without a path"),
        (rename_child("a\0b"), "names without a path"),
        (lambda entries: entries[0]["dataRegion"].update(size=10**9), "data within"),
        (lambda entries: entries[0]["dataRegion"].update(offset=-1), "data within"),
        (lambda entries: entries[0].update(kind=7), "files and folders"),
        (lambda entries: entries[0].pop("dataRegion"), "an entry with kind, children and data"),
        (lambda entries: entries[-1]["children"].update(again=0), "each entry in one folder"),
        (lambda entries: entries[-1]["children"].update(own=len(entries) - 1), "folders behind what they hold"),
        (lambda entries: entries[-1]["children"].update(below=-1), "folders behind what they hold"),
        (lambda entries: entries.extend(dict(entries[0]) for _ in range(MAX_ENTRIES)), "a list of 1 to 64"),
        (lambda entries: entries.append(dict(entries[0])), "a folder at the end"),
    ],
)
def test_each_kind_of_damage_is_refused(
    change: Callable[[list[dict[str, Any]]], object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(PackageError, match=message):
        extract_folder(with_list(write_folder(FILES), change), tmp_path / "folder", where="x")
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("data", [b"", b"no list", b"{}"[::-1], b"[" * 60_000])
def test_bytes_without_a_list_are_refused(data: bytes) -> None:
    with pytest.raises(PackageError, match="Core ML model"):
        read_folder(data, where="x")
