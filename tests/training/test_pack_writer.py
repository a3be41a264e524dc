"""Writing a pack: shards that webdataset reads, the same bytes each time, limits, and nothing left behind."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import webdataset

from sam2lite_mobile.errors import ContractError, DataError
from sam2lite_mobile.training import pack_writer
from sam2lite_mobile.training.pack_index import INDEX_NAME
from sam2lite_mobile.training.pack_writer import PackLimits, StoppedPackError
from sam2lite_mobile.training.sources import find_sequences
from tests.training.pack_samples import FRAMES, pack_data
from tests.training.synthetic_data import write_data


def test_shards_are_webdataset_files_with_a_sample_a_still_and_one_a_stretch_of_video(
    tmp_path: Path, pack_source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_writer, "FRAMES_PER_SAMPLE", 5)
    index = pack_data(pack_source, tmp_path / "pack")
    shards = [str(tmp_path / "pack" / shard.name) for shard in index.shards]

    samples = list(webdataset.WebDataset(shards, shardshuffle=False))
    facts = [json.loads(sample["json"]) for sample in samples]
    assert [(each["name"], len(each["frames"])) for each in facts] == [
        ("roller", 5),
        ("roller", 5),
        ("roller", 2),
        ("jumper", 4),
        ("b", 1),
        ("a", 1),
        ("alternatives", 1),
    ]
    assert facts[1]["frames"] == [f"{index:05d}" for index in range(5, 10)]
    assert facts[1]["ids"] == [[1]] * 5
    assert facts[1]["dataset"] == "davis2016-train"
    image = pack_source / "train/video/davis2016-train/JPEGImages/roller/00006.jpg"
    assert samples[1]["001.jpg"] == image.read_bytes()
    coarse = pack_source / "train/images/greens/masks_coarse/a.png"
    assert samples[5]["000.1.png"] == coarse.read_bytes()
    assert index.frame_count == sum(FRAMES.values()) + 3
    assert [len(each.frames) for each in find_sequences(tmp_path / "pack")["davis2016-train"]] == [12]


def test_same_data_in_another_place_gives_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for name in ("first", "second"):
        root = write_data(tmp_path / name)
        (root / "train/images/greens/images/a.jpg").write_bytes(b"broken")
        pack_data(root, tmp_path / f"{name}-pack", short_side=60)
        written.append({path.name: path.read_bytes() for path in (tmp_path / f"{name}-pack").iterdir()})
    assert written[0] == written[1]
    assert len(written[0]) == 2
    assert str(tmp_path).encode() not in written[0][INDEX_NAME]


def test_entries_carry_no_time_and_no_user(pack: Path) -> None:
    with tarfile.open(pack / "shard-000000.tar") as shard:
        for member in shard:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode) == (
                *(0, 0, 0, "", ""),
                0o644,
            )


def test_index_gives_size_and_hash_of_every_shard(tmp_path: Path, pack_source: Path) -> None:
    index = pack_data(pack_source, tmp_path / "pack", limits=PackLimits(shard_bytes=40_960))

    assert len(index.shards) >= 3
    for shard in index.shards:
        content = (tmp_path / "pack" / shard.name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (shard.bytes, shard.sha256)
    assert {path.name for path in (tmp_path / "pack").iterdir()} == {
        INDEX_NAME,
        *(shard.name for shard in index.shards),
    }


def test_shard_is_over_its_size_only_with_a_single_sample(tmp_path: Path, pack_source: Path) -> None:
    index = pack_data(pack_source, tmp_path / "pack", limits=PackLimits(shard_bytes=40_960))

    for number, shard in enumerate(index.shards):
        alone = sum(sample.shard == number for sample in index.samples) == 1
        assert shard.bytes <= 40_960 or alone


def test_limit_is_kept_to_the_byte_and_nothing_is_left_behind(tmp_path: Path, pack_source: Path) -> None:
    pack_data(pack_source, tmp_path / "pack")
    total = sum(path.stat().st_size for path in (tmp_path / "pack").iterdir())

    pack_data(pack_source, tmp_path / "exact", limits=PackLimits(pack_bytes=total))
    with pytest.raises(DataError, match=r"size of the pack: expected at most .* MB, got more"):
        pack_data(pack_source, tmp_path / "over", limits=PackLimits(pack_bytes=total - 1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exact", "pack"]


def test_shards_never_grow_over_the_limit_while_they_are_written(
    tmp_path: Path, pack_source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    close = pack_writer._Shards.close

    def close_and_measure(shards: pack_writer._Shards) -> None:
        close(shards)
        sizes.append(sum(path.stat().st_size for path in shards._folder.iterdir()))

    monkeypatch.setattr(pack_writer._Shards, "close", close_and_measure)
    with pytest.raises(DataError, match="size of the pack"):
        pack_data(pack_source, tmp_path / "pack", limits=PackLimits(shard_bytes=30_720, pack_bytes=102_400))
    assert max(sizes) <= 102_400


def test_limit_that_nothing_fits_in_is_refused() -> None:
    with pytest.raises(ContractError, match="shard size"):
        PackLimits(shard_bytes=1000)


@pytest.mark.parametrize("when", ["before the first item", "at the third"])
def test_stop_leaves_nothing_behind(tmp_path: Path, pack_source: Path, when: str) -> None:
    asked: Iterator[bool] = iter([True] if when == "before the first item" else [False, False, True])
    with pytest.raises(StoppedPackError):
        pack_data(pack_source, tmp_path / "pack", stop=lambda: next(asked))
    assert list(tmp_path.iterdir()) == []


def test_keyboard_interrupt_leaves_nothing_behind(tmp_path: Path, pack_source: Path) -> None:
    def interrupt() -> bool:
        if list(tmp_path.glob(".pack-*/shard-*")):
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        pack_data(pack_source, tmp_path / "pack", stop=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_full_folder_is_not_written_to(tmp_path: Path, pack_source: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="a new or empty folder"):
        pack_data(pack_source, tmp_path / "pack")
    assert [path.name for path in (tmp_path / "pack").iterdir()] == ["notes.txt"]
