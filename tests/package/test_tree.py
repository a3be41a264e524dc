"""Hashes of files and folders, and the refusal of everything that is no plain file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from msgspec import structs

from sam2lite_mobile.errors import PackageError
from sam2lite_mobile.package.tree import copy_folder, list_files, open_regular_file, tree_sha256, walk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "z.txt").write_text("1")
    (tmp_path / "a" / "b" / "y.txt").write_text("22")
    return tmp_path / "a"


def test_files_are_listed_by_path_with_hash_and_length(folder: Path) -> None:
    assert [(entry.path, entry.bytes) for entry in list_files(folder)] == [("b/y.txt", 2), ("z.txt", 1)]
    assert list_files(folder)[1].sha256 == hashlib.sha256(b"1").hexdigest()


def test_tree_hash_is_that_of_the_lines_which_sha256sum_prints(folder: Path) -> None:
    lines = f"{hashlib.sha256(b'22').hexdigest()}  b/y.txt\n{hashlib.sha256(b'1').hexdigest()}  z.txt\n"
    assert tree_sha256(list_files(folder)) == hashlib.sha256(lines.encode()).hexdigest()


def test_tree_hash_depends_on_names_and_content_and_not_on_order(folder: Path) -> None:
    first, second = list_files(folder)
    whole = tree_sha256((first, second))
    assert tree_sha256((second, first)) == whole
    assert tree_sha256((structs.replace(first, path="b/x.txt"), second)) != whole
    assert tree_sha256((structs.replace(first, sha256="0" * 64), second)) != whole


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "nothing"])
def test_only_a_plain_file_is_opened(folder: Path, kind: str) -> None:
    path = folder / kind
    if kind == "link":
        path.symlink_to(folder / "z.txt")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(PackageError, match=f"{kind}: expected a regular file"):
        os.close(open_regular_file(path))


def test_walk_reports_a_link_to_a_folder_and_does_not_enter_it(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "b", target_is_directory=True)
    found = {(item.path, item.kind) for item in walk(folder)}
    assert found == {("b", "folder"), ("b/y.txt", "file"), ("link", "symbolic link"), ("z.txt", "file")}


def test_copy_has_the_same_files_under_fixed_modes(folder: Path, tmp_path: Path) -> None:
    (folder / "z.txt").chmod(0o600)
    copy_folder(folder, tmp_path / "copy")
    assert list_files(tmp_path / "copy") == list_files(folder)
    assert oct((tmp_path / "copy" / "z.txt").stat().st_mode & 0o777) == "0o644"
