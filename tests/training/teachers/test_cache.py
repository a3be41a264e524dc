"""Cached teachers: found or made, the answers are the same bits, and a broken file is never believed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save_file

from sam2lite_mobile.errors import ContractError, DataError
from sam2lite_mobile.student.checkpoint import safetensors_bytes
from sam2lite_mobile.training.teachers.cache import CachedTeacher
from sam2lite_mobile.training.teachers.cache_file import decode, encode
from sam2lite_mobile.training.teachers.teacher import TeacherFrame
from sam2lite_mobile.training.teachers.tensor_hash import tensors_hash
from tests.training.teachers.scripted_teacher import THIRD, ScriptedTeacher, small_clip


def only_file(folder: Path) -> Path:
    (path,) = folder.rglob("*.safetensors")
    return path


def assert_same(first: list[TeacherFrame], second: list[TeacherFrame]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for field in fields(one):
            a, b = getattr(one, field.name), getattr(other, field.name)
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, field.name


def test_hit_gives_the_bits_of_the_miss_before_it_without_asking_the_teacher(tmp_path: Path) -> None:
    teacher = ScriptedTeacher()
    made = CachedTeacher(teacher, tmp_path / "cache").track(*small_clip())
    second = CachedTeacher(teacher, tmp_path / "cache")
    assert_same(made, second.track(*small_clip()))
    assert teacher.calls == 1
    size = only_file(tmp_path).stat().st_size
    assert (second.counts.hits, second.counts.misses, second.counts.bytes_read) == (1, 0, size)


def test_miss_is_what_the_teacher_says_rounded_to_float16(tmp_path: Path) -> None:
    teacher = ScriptedTeacher()
    cached = CachedTeacher(teacher, tmp_path)
    made, said = cached.track(*small_clip()), teacher.track(*small_clip())
    assert (cached.counts.hits, cached.counts.misses) == (0, 1)
    assert cached.counts.bytes_written == only_file(tmp_path).stat().st_size
    for one, other in zip(made, said, strict=True):
        assert (one.spans, one.query_grid) == (other.spans, other.query_grid)
        for name in ("mask_logits", "attention", "readout"):
            value = getattr(one, name)
            assert value.dtype == torch.float32
            assert torch.equal(value, getattr(other, name).half().float())
    assert made[0].attention[0, 0] != THIRD


@pytest.mark.parametrize("changed", ["pixel", "mask", "frames", "teacher"])
def test_another_clip_or_teacher_is_another_question(tmp_path: Path, changed: str) -> None:
    CachedTeacher(ScriptedTeacher(), tmp_path).track(*small_clip())
    frames, mask = small_clip()
    if changed == "pixel":
        frames[2, 7, 7, 2] += 1
    elif changed == "mask":
        mask[0, 0] = 255
    elif changed == "frames":
        frames = frames[:2]
    other = CachedTeacher(ScriptedTeacher(fingerprint="cd" if changed == "teacher" else "ab"), tmp_path)
    other.track(frames, mask)
    assert (other.counts.hits, other.counts.misses) == (0, 1)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2


def test_files_lie_in_folders_named_by_the_first_two_digits_of_their_key(tmp_path: Path) -> None:
    CachedTeacher(ScriptedTeacher(), tmp_path).track(*small_clip())
    path = only_file(tmp_path)
    assert path.parent.parent == tmp_path
    assert path.parent.name == path.name[:2]
    assert len(path.stem) == 64
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]  # no temporary file is left


def truncated(data: bytes) -> bytes:
    return data[:-1]


def flipped(data: bytes) -> bytes:
    """One bit of the last tensor: still a safetensors file."""
    return data[:-1] + bytes([data[-1] ^ 1])


def empty(data: bytes) -> bytes:
    return b""


def no_safetensors(data: bytes) -> bytes:
    return b"\x80\x04" + data  # a pickle's start


def huge_header(data: bytes) -> bytes:
    return (1 << 40).to_bytes(8, "little") + data[8:]


def of_another_format(data: bytes) -> bytes:
    return safetensors_bytes(load(data), {"format": "something else"})


def of_another_key(data: bytes) -> bytes:
    return encode(ScriptedTeacher().track(*small_clip()), key="0" * 64)


def with_wrong_spans(data: bytes) -> bytes:
    """Spans that cover four of five tokens; hash and key are right."""
    return data.replace(b"[-1, 1, null]", b"[-1, 0, null]").replace(b"[1, 1, null]", b"[1, 0, null]")


@pytest.mark.parametrize(
    "break_file",
    [truncated, flipped, empty, no_safetensors, huge_header, of_another_format, of_another_key, with_wrong_spans],
)
def test_broken_or_foreign_file_is_made_again_and_replaced(
    tmp_path: Path, break_file: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    teacher = ScriptedTeacher()
    made = CachedTeacher(teacher, tmp_path).track(*small_clip())
    path = only_file(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(break_file(whole))
    assert path.read_bytes() != whole
    with caplog.at_level(logging.WARNING):
        cached = CachedTeacher(teacher, tmp_path)
        assert_same(made, cached.track(*small_clip()))
    assert teacher.calls == 2
    assert (cached.counts.misses, cached.counts.replaced) == (1, 1)
    assert path.read_bytes() == whole
    assert [str(path) in record.getMessage() for record in caplog.records] == [True]
    cached.track(*small_clip())
    assert cached.counts.hits == 1


def test_broken_files_are_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    teacher = ScriptedTeacher()
    for level in range(3):
        CachedTeacher(teacher, tmp_path).track(*small_clip(level=level))
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(b"")
    cached = CachedTeacher(teacher, tmp_path)
    for level in range(3):
        cached.track(*small_clip(level=level))
    assert cached.counts.replaced == 3
    assert len(caplog.records) == 1


def test_wrong_shape_in_a_file_with_a_right_hash_is_refused() -> None:
    data = encode(ScriptedTeacher().track(*small_clip()), key="k")
    tensors = load(data)
    tensors["0.readout"] = tensors["0.readout"][:1]
    layout = '[{"spans": [[0, 4, [2, 2]], [1, 1, null]], "query_grid": [1, 2]}]'
    kept = {name: value for name, value in tensors.items() if name.startswith("0.")}
    facts = {"format": "sam2lite-teacher-frames", "format_version": "1", "key": "k", "layout": layout}
    with pytest.raises(DataError, match="2 queries and 5 tokens"):
        decode(safetensors_bytes(kept, {**facts, "tensors": tensors_hash(kept)}), key="k")


def test_two_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    together = threading.Barrier(2)

    class Meeting(ScriptedTeacher):
        def track(self, frames: torch.Tensor, first_mask: torch.Tensor) -> list[TeacherFrame]:
            together.wait(timeout=10)  # both have looked, and found nothing
            return super().track(frames, first_mask)

    teachers = [CachedTeacher(Meeting(), tmp_path) for _ in range(2)]
    answers: list[list[TeacherFrame]] = []
    threads = [threading.Thread(target=lambda t=t: answers.append(t.track(*small_clip()))) for t in teachers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [t.counts.misses for t in teachers] == [1, 1]
    assert_same(*answers)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [only_file(tmp_path)]
    third = CachedTeacher(ScriptedTeacher(), tmp_path)
    assert_same(answers[0], third.track(*small_clip()))
    assert third.counts.hits == 1


def test_values_that_float16_does_not_hold_are_an_error_and_write_nothing(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"readout of frame 1.*65504"):
        CachedTeacher(ScriptedTeacher(largest=1e6), tmp_path).track(*small_clip())
    assert list(tmp_path.iterdir()) == []


def test_clip_over_the_limit_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam2lite_mobile.training.teachers.cache_file.LARGEST_FILE_BYTES", (1 << 20) + 50)
    with pytest.raises(ContractError, match="shorter or smaller clips"):
        CachedTeacher(ScriptedTeacher(), tmp_path).track(*small_clip())


def test_file_over_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CachedTeacher(ScriptedTeacher(), tmp_path).track(*small_clip())
    only_file(tmp_path).write_bytes(bytes((1 << 20) + 2000))
    monkeypatch.setattr("sam2lite_mobile.training.teachers.cache_file.LARGEST_FILE_BYTES", (1 << 20) + 1000)
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("it was read"))
    again = CachedTeacher(ScriptedTeacher(), tmp_path)
    again.track(*small_clip())
    assert again.counts.replaced == 1


def test_fingerprint_differs_from_the_teachers_because_values_are_rounded(tmp_path: Path) -> None:
    cached = CachedTeacher(ScriptedTeacher(), tmp_path)
    assert cached.fingerprint != "ab"
    assert cached.fingerprint == CachedTeacher(ScriptedTeacher(), tmp_path / "other").fingerprint
    assert cached.readout_width == 3


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"")
    with pytest.raises(ContractError, match="a folder, got a file"):
        CachedTeacher(ScriptedTeacher(), tmp_path / "cache")


def test_place_that_cannot_be_written_to_is_an_error(tmp_path: Path) -> None:
    CachedTeacher(ScriptedTeacher(), tmp_path).track(*small_clip())
    path = only_file(tmp_path)
    shard = path.parent
    path.unlink()
    shard.rmdir()
    shard.write_bytes(b"")  # a file where the folder has to be
    with pytest.raises(DataError, match="a place to write"):
        CachedTeacher(ScriptedTeacher(), tmp_path).track(*small_clip())


def test_file_that_another_program_wrote_is_not_taken_for_frames(tmp_path: Path) -> None:
    save_file({"0.readout": torch.zeros(2, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="they are made again"):
        decode((tmp_path / "other.safetensors").read_bytes(), key="k")
