"""Atomic files and folders: exchange, journal, leftovers, locks."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from sam2lite_mobile.errors import PackageError
from sam2lite_mobile.package import files
from sam2lite_mobile.package.exchange import exchange_folders
from sam2lite_mobile.package.files import recover_folder, staged_folder, write_file


def folder_of(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "file.txt").write_text(text)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["exchange", "two renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the system's exchange, and as on a system without one."""
    if request.param == "two renames":
        monkeypatch.setattr(files, "exchange_folders", lambda first, second: False)
    return request.param


def test_exchange_swaps_two_folders_that_are_not_empty(tmp_path: Path) -> None:
    first, second = folder_of(tmp_path / "a", "1"), folder_of(tmp_path / "b", "2")
    if not exchange_folders(first, second):
        pytest.skip("this file system cannot exchange two names")
    assert [(first / "file.txt").read_text(), (second / "file.txt").read_text()] == ["2", "1"]


def test_exchange_with_a_missing_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    first = folder_of(tmp_path / "a", "1")
    with pytest.raises(FileNotFoundError, match="none"):
        exchange_folders(first, tmp_path / "none")
    assert (first / "file.txt").read_text() == "1"


def test_staged_folder_takes_the_place_of_the_old_one_and_leaves_nothing_else(tmp_path: Path, way: str) -> None:
    target = folder_of(tmp_path / "ios", "old")
    with staged_folder(target) as staging:
        (staging / "new.txt").write_text("new")
        (staging / "new.txt").chmod(0o600)
        assert (target / "file.txt").read_text() == "old"
        assert staging.parent == target.parent
    assert names(target) == ["new.txt"]
    assert names(tmp_path) == ["ios"]
    assert oct(target.stat().st_mode & 0o777) == "0o755"
    assert oct((target / "new.txt").stat().st_mode & 0o777) == "0o644"


def test_error_inside_the_block_leaves_the_old_folder_and_no_staging_folder(tmp_path: Path, way: str) -> None:
    target = folder_of(tmp_path / "ios", "old")

    def interrupted() -> None:
        with staged_folder(target) as staging:
            (staging / "new.txt").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (target / "file.txt").read_text() == "old"
    assert names(tmp_path) == ["ios"]


def test_second_rename_that_fails_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = folder_of(tmp_path / "ios", "old")
    monkeypatch.setattr(files, "exchange_folders", lambda first, second: False)
    rename = os.rename

    def fail_for_staging(source: Path, destination: Path) -> None:
        if "staging" in Path(source).name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, destination)

    monkeypatch.setattr(os, "rename", fail_for_staging)
    with pytest.raises(OSError, match="Input/output error"), staged_folder(target) as staging:
        (staging / "new.txt").write_text("new")
    assert (target / "file.txt").read_text() == "old"
    assert names(tmp_path) == ["ios"]


@pytest.mark.parametrize(
    ("stopped", "expected"),
    [("before both renames", "new"), ("between them", "new"), ("after both", "new"), ("staging lost", "old")],
)
def test_journal_is_completed_from_every_step(tmp_path: Path, stopped: str, expected: str) -> None:
    target, staging, retired = tmp_path / "ios", tmp_path / ".ios.staging-x", tmp_path / ".ios.retired"
    (tmp_path / ".ios.swap").write_text(staging.name)
    if stopped == "before both renames":
        folder_of(target, "old"), folder_of(staging, "new")
    elif stopped == "between them":
        folder_of(retired, "old"), folder_of(staging, "new")
    elif stopped == "after both":
        folder_of(target, "new"), folder_of(retired, "old")
    else:
        folder_of(retired, "old")
    recover_folder(target)
    assert (target / "file.txt").read_text() == expected
    assert names(tmp_path) == ["ios"]


@pytest.mark.parametrize("content", ["", "..", "other", "../elsewhere", ".ios.staging-/../other"])
def test_journal_that_names_something_else_moves_nothing(tmp_path: Path, content: str) -> None:
    target = folder_of(tmp_path / "ios", "old")
    folder_of(tmp_path / "other", "not ours")
    (tmp_path / ".ios.swap").write_text(content)
    with pytest.raises(PackageError, match="the name of a staging folder"):
        recover_folder(target)
    assert names(tmp_path) == [".ios.swap", "ios", "other"]


def test_next_build_removes_what_dead_builds_left_and_nothing_else(tmp_path: Path) -> None:
    folder_of(tmp_path / ".ios.staging-dead", "half")
    folder_of(tmp_path / ".ios.retired", "old")
    (tmp_path / "..ios.swap.tmp1").write_text("half a journal")
    for kept in (".android.staging-live", "ios2", ".ios-notes"):
        folder_of(tmp_path / kept, "not ours")
    with staged_folder(tmp_path / "ios") as staging:
        (staging / "new.txt").write_text("new")
    assert names(tmp_path) == [".android.staging-live", ".ios-notes", "ios", "ios2"]


def test_recovery_without_a_journal_touches_nothing(tmp_path: Path) -> None:
    folder_of(tmp_path / ".ios.staging-live", "being built")
    recover_folder(tmp_path / "ios")
    assert names(tmp_path) == [".ios.staging-live"]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_target_that_is_no_folder_is_refused_and_kept(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "ios"
    if kind == "file":
        target.write_text("mine")
    else:
        target.symlink_to(folder_of(tmp_path / "elsewhere", "mine"))
    with pytest.raises(PackageError, match="got a file or a symbolic link"), staged_folder(target):
        pass
    assert target.is_symlink() or target.read_text() == "mine"


def test_link_inside_a_staged_folder_is_refused_and_its_target_left_alone(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    outside.chmod(0o600)
    with pytest.raises(PackageError, match="symbolic link"), staged_folder(tmp_path / "ios") as staging:
        (staging / "link").symlink_to(outside)
    assert oct(outside.stat().st_mode & 0o777) == "0o600"


def test_second_build_waits_for_the_first_and_gives_up_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LOCK_WAIT_S", 0.2)
    with staged_folder(tmp_path / "ios") as staging:
        with pytest.raises(PackageError, match="no other build within"), staged_folder(tmp_path / "ios"):
            pass
        assert staging.is_dir()


def test_builds_beside_each_other_both_succeed(tmp_path: Path) -> None:
    def build(text: str) -> None:
        with staged_folder(tmp_path / "ios") as staging:
            for index in range(20):
                (staging / f"{index}.txt").write_text(text)

    threads = [threading.Thread(target=build, args=(text,)) for text in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    texts = {path.read_text() for path in (tmp_path / "ios").iterdir()}
    assert len(names(tmp_path / "ios")) == 20
    assert len(texts) == 1
    assert names(tmp_path) == ["ios"]


def test_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_file(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.json"]
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.json"]
