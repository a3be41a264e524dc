"""Result files: a struct comes back as it was, and nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from sam2lite_mobile.errors import DataError
from sam2lite_mobile.media.json_file import read_json, write_json


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    values: tuple[float, ...] = ()


def read(path: Path, *, max_bytes: int = 100_000) -> Sample:
    return read_json(path, Sample, max_bytes=max_bytes, expected="a sample", do="make it again")


def test_struct_comes_back_and_is_readable_text(tmp_path: Path) -> None:
    path, sample = tmp_path / "s.json", Sample("é", (1.5, 2.0))
    write_json(path, sample)
    assert read(path) == sample
    assert path.read_text(encoding="utf-8").startswith('{\n "name": "é",\n')
    assert path.read_bytes().endswith(b"}\n")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"name": 1}', b'{"name": "a", "more": 1}', b'{"name": "\xff"}', b"[" * 500]
)
def test_other_files_are_refused_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "s.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"s\.json: expected a sample, got .*; make it again"):
        read(path)


def test_missing_and_large_files_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    with pytest.raises(DataError, match="expected a sample, got no such file; make it again"):
        read(path)
    write_json(path, Sample("a" * 200_000))
    with pytest.raises(DataError, match="expected at most 100000 bytes"):
        read(path)
