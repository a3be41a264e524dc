"""Reading a pack: the same clips as from the files, and nothing that was changed, cut or smuggled in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sam2lite_mobile.errors import DataError
from sam2lite_mobile.training import pack_index, pack_writer
from sam2lite_mobile.training.batches import check_data, iterate_steps
from sam2lite_mobile.training.clips import ClipSettings, ClipSource
from sam2lite_mobile.training.image_files import read_bytes
from sam2lite_mobile.training.pack_index import INDEX_NAME, read_index
from sam2lite_mobile.training.pack_writer import PackLimits
from sam2lite_mobile.training.sources import find_sequence, find_sequences, find_stills
from tests.training.pack_samples import pack_data
from tests.training.short_runs import short_recipe


@pytest.fixture
def copied(tmp_path: Path, pack: Path) -> Path:
    """A pack to tamper with."""
    out = tmp_path / "pack"
    out.mkdir()
    for path in pack.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    return out


def change_index(pack: Path, change: Callable[[dict], None]) -> None:
    fields = json.loads((pack / INDEX_NAME).read_bytes())
    change(fields)
    (pack / INDEX_NAME).write_text(json.dumps(fields))


@pytest.mark.parametrize("settings", [{}, {"video_share": 1.0}, {"video_share": 0.0, "paste": 1.0}])
def test_clips_from_a_pack_are_those_from_the_files(pack_source: Path, pack: Path, settings: dict) -> None:
    from_files, from_pack = (
        ClipSource(root, ClipSettings(size_px=48, **settings), seed=5) for root in (pack_source, pack)
    )

    for index in range(25):
        first, second = from_files.clip(index), from_pack.clip(index)
        assert first.source == second.source
        assert np.array_equal(first.frames, second.frames)
        assert np.array_equal(first.masks, second.masks)


def test_video_spread_over_shards_is_put_together(
    tmp_path: Path, pack_source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_writer, "FRAMES_PER_SAMPLE", 3)
    pack_data(pack_source, tmp_path / "pack", limits=PackLimits(shard_bytes=20_480))

    files, packed = find_sequence(pack_source, "roller"), find_sequence(tmp_path / "pack", "roller")
    assert len({frame.archive for frame in packed.frames}) > 2
    for first, second in zip((*files.frames, *files.masks), (*packed.frames, *packed.masks), strict=True):
        assert read_bytes(first) == read_bytes(second)


def test_validation_sequence_in_an_index_is_refused(copied: Path) -> None:
    change_index(copied, lambda fields: fields["samples"][0].update(name="libby"))
    for read in (find_sequences, find_stills):
        with pytest.raises(DataError, match="validation split, got libby"):
            read(copied)
    with pytest.raises(DataError, match="validation split"):
        find_sequence(copied, "libby")


def set_place(fields: dict, place: list[int]) -> None:
    fields["samples"][0]["frames"][0][1] = place


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda fields: fields.update(version=2), "version 1"),
        (lambda fields: fields.update(surprise=1), "surprise"),
        (lambda fields: fields["shards"][0].update(name="../shard-000000.tar"), r"\$\.shards\[0\]\.name"),
        (lambda fields: fields["shards"][0].update(name="/etc/passwd"), r"\$\.shards\[0\]\.name"),
        (lambda fields: fields["shards"][0].update(name="shard-000000.tar\n"), r"\$\.shards\[0\]\.name"),
        (lambda fields: fields["shards"][0].update(name="shard-000001.tar"), "a file in the folder of the pack"),
        (lambda fields: fields["shards"][0].update(bytes=10_240), "expected 10240 bytes"),
        (lambda fields: fields["samples"][0].update(shard=1), "expected 1 shards, got number 1"),
        (lambda fields: fields["samples"][0].update(kind="audio"), "audio"),
        (lambda fields: fields["samples"][0].update(frames=[]), "length >= 1"),
        (lambda fields: set_place(fields, [-1, 10]), ">= 0"),
        (lambda fields: set_place(fields, [0, 10**9]), "<= 67108864"),
        (lambda fields: set_place(fields, [10**9, 10]), "beyond its end in video-000001-000"),
        (lambda fields: fields["samples"].pop(), "frames, got"),
    ],
)
def test_tampered_index_is_refused(copied: Path, change: Callable[[dict], None], why: str) -> None:
    change_index(copied, change)
    with pytest.raises(DataError, match=why):
        read_index(copied)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_index_that_is_no_json_of_a_pack_is_refused(copied: Path, content: bytes) -> None:
    (copied / INDEX_NAME).write_bytes(content)
    with pytest.raises(DataError, match="the index of a pack"):
        read_index(copied)


def test_oversize_index_is_refused(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (copied / INDEX_NAME).stat().st_size
    monkeypatch.setattr(pack_index, "MAX_INDEX_BYTES", size)
    read_index(copied)
    monkeypatch.setattr(pack_index, "MAX_INDEX_BYTES", size - 1)
    with pytest.raises(DataError, match="a larger file"):
        read_index(copied)


def test_shard_that_is_a_link_is_refused(copied: Path, pack: Path) -> None:
    (copied / "shard-000000.tar").unlink()
    (copied / "shard-000000.tar").symlink_to(pack / "shard-000000.tar")
    with pytest.raises(DataError, match="got a link"):
        read_index(copied)


def test_truncated_shard_is_refused(copied: Path) -> None:
    path = copied / "shard-000000.tar"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"expected {size} bytes, got {size - 1}"):
        ClipSource(copied, ClipSettings(), seed=0)


def test_changed_shard_is_refused_before_training(copied: Path) -> None:
    path = copied / "shard-000000.tar"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="expected sha256"):
        check_data(copied, short_recipe())


def test_video_of_a_single_frame_in_an_index_is_refused(copied: Path) -> None:
    def cut(fields: dict) -> None:
        fields["frame_count"] -= 11
        fields["samples"][0]["frames"] = fields["samples"][0]["frames"][:1]

    change_index(copied, cut)
    with pytest.raises(DataError, match="one in davis2016-train/roller"):
        find_sequences(copied)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_of_a_run_are_the_same_from_a_pack(pack_source: Path, pack: Path, workers: int) -> None:
    check_data(pack, short_recipe())
    from_files, from_pack = (
        list(iterate_steps(root, short_recipe(), range(short_recipe().steps), workers=workers))
        for root in (pack_source, pack)
    )
    for first, second in zip(from_files, from_pack, strict=True):
        for name in ("frames", "masks", "points", "labels"):
            assert np.array_equal(getattr(first, name), getattr(second, name))
