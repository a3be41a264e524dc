"""Packs: the same clips as from the files, the same bytes each time, nothing broken or held out in them."""

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import webdataset
from PIL import Image

from sam2lite_mobile.errors import ContractError, DataError
from sam2lite_mobile.training import pack_index, pack_writer
from sam2lite_mobile.training.batches import check_data, iterate_steps
from sam2lite_mobile.training.clips import ClipSettings, ClipSource
from sam2lite_mobile.training.image_files import PackedFile, read_bytes, read_image, read_labels
from sam2lite_mobile.training.layouts import SequenceFolder
from sam2lite_mobile.training.pack_index import INDEX_NAME, PackIndex, read_index
from sam2lite_mobile.training.pack_items import FolderVideo, PictureSettings, encode_pixels, find_items
from sam2lite_mobile.training.pack_writer import PackLimits, StoppedPackError, write_pack
from sam2lite_mobile.training.sources import find_sequence, find_sequences, find_stills
from tests.training.short_runs import short_recipe
from tests.training.synthetic_data import GREEN, disk, paint, write_data, write_pair, write_sequence, write_still
from tests.training.test_layouts import write_davis, write_sav

FRAMES = {"roller": 12, "jumper": 4}


def pack_data(
    data: Path,
    out: Path,
    *,
    hold_out: tuple[str, ...] = (),
    short_side: int = 288,
    limits: PackLimits | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> PackIndex:
    items, left_out, bare = find_items(data, None, hold_out=hold_out)
    return write_pack(
        items,
        out,
        data_root=data,
        pictures=PictureSettings(short_side),
        limits=limits or PackLimits(),
        held_out=left_out,
        skipped=bare,
        stop=stop,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_data(tmp_path_factory.mktemp("data"))
    labels = disk(40, 40, x=20, y=20, radius=8)
    write_still(root, "greens", "alternatives", labels=labels, colours=(GREEN,))
    write_pair(root / "unused.jpg", root / "train/images/greens/masks_coarse/a.png", *two(96, 128))
    write_pair(root / "unused.jpg", root / "train/images/greens/masks_coarse/alternatives.png", *two(40, 40))
    return root


def two(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    labels = 2 * disk(height, width, x=18, y=16, radius=9)
    return paint(labels, (GREEN, GREEN)), labels


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    out = tmp_path_factory.mktemp("packs") / "pack"
    pack_data(data, out)
    return out


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
def test_clips_from_a_pack_are_those_from_the_files(data: Path, pack: Path, settings: dict) -> None:
    from_files, from_pack = (ClipSource(root, ClipSettings(size_px=48, **settings), seed=5) for root in (data, pack))

    for index in range(25):
        first, second = from_files.clip(index), from_pack.clip(index)
        assert first.source == second.source
        assert np.array_equal(first.frames, second.frames)
        assert np.array_equal(first.masks, second.masks)


def test_pictures_that_need_no_shrinking_are_packed_byte_for_byte(data: Path, pack: Path) -> None:
    pairs: list[tuple] = []
    for name in FRAMES:
        files, packed = find_sequence(data, name), find_sequence(pack, name)
        pairs += zip((*files.frames, *files.masks), (*packed.frames, *packed.masks), strict=True)
    for dataset, stills in find_stills(data).items():
        for still, other in zip(stills, find_stills(pack)[dataset], strict=True):
            assert (still.name, still.parts) == (other.name, other.parts)
            pairs += zip((still.image, *still.masks), (other.image, *other.masks), strict=True)
    assert len(pairs) == 2 * sum(FRAMES.values()) + 2 * 3 + 2
    for path, inside in pairs:
        assert isinstance(inside, PackedFile)
        assert read_bytes(inside) == path.read_bytes()
        assert inside.stem == path.stem


def test_shards_are_webdataset_files_with_a_sample_a_still_and_one_a_stretch_of_video(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_writer, "FRAMES_PER_SAMPLE", 5)
    index = pack_data(data, tmp_path / "pack")
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
    image = data / "train/video/davis2016-train/JPEGImages/roller/00006.jpg"
    assert samples[1]["001.jpg"] == image.read_bytes()
    coarse = data / "train/images/greens/masks_coarse/a.png"
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


def test_video_spread_over_shards_is_put_together(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_writer, "FRAMES_PER_SAMPLE", 3)
    pack_data(data, tmp_path / "pack", limits=PackLimits(shard_bytes=20_480))

    files, packed = find_sequence(data, "roller"), find_sequence(tmp_path / "pack", "roller")
    assert len({frame.archive for frame in packed.frames}) > 2
    for first, second in zip((*files.frames, *files.masks), (*packed.frames, *packed.masks), strict=True):
        assert read_bytes(first) == read_bytes(second)


def test_entries_carry_no_time_and_no_user(pack: Path) -> None:
    with tarfile.open(pack / "shard-000000.tar") as shard:
        for member in shard:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode) == (
                *(0, 0, 0, "", ""),
                0o644,
            )


def test_index_gives_size_and_hash_of_every_shard(tmp_path: Path, data: Path) -> None:
    index = pack_data(data, tmp_path / "pack", limits=PackLimits(shard_bytes=40_960))

    assert len(index.shards) >= 3
    for shard in index.shards:
        content = (tmp_path / "pack" / shard.name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (shard.bytes, shard.sha256)
    assert {path.name for path in (tmp_path / "pack").iterdir()} == {
        INDEX_NAME,
        *(shard.name for shard in index.shards),
    }


def test_shard_is_over_its_size_only_with_a_single_sample(tmp_path: Path, data: Path) -> None:
    index = pack_data(data, tmp_path / "pack", limits=PackLimits(shard_bytes=40_960))

    for number, shard in enumerate(index.shards):
        alone = sum(sample.shard == number for sample in index.samples) == 1
        assert shard.bytes <= 40_960 or alone


def test_large_pictures_are_shrunk_by_area_and_their_masks_keep_their_ids(tmp_path: Path) -> None:
    labels = np.zeros((120, 200), dtype=np.uint8)
    labels[:, 60:] = 7
    labels[40:80, 100:160] = 200
    stripes = np.zeros((120, 200, 3), dtype=np.uint8)
    stripes[:, ::2] = 200
    write_pair(tmp_path / "train/images/set/images/a.jpg", tmp_path / "train/images/set/masks/a.png", stripes, labels)
    Image.fromarray(labels).save(tmp_path / "train/images/set/masks/a.png")
    pack_data(tmp_path, tmp_path / "pack", short_side=60)

    [still] = find_stills(tmp_path / "pack")["set"]
    pixels, packed = read_image(still.image), read_labels(still.masks[0])
    assert pixels.shape == (60, 100, 3)
    assert np.abs(pixels.astype(int) - 100).max() <= 8  # one stripe alone would be 0 or 200
    assert np.array_equal(packed, labels[1::2, 1::2])


def test_small_pictures_are_never_enlarged(tmp_path: Path) -> None:
    labels = disk(33, 40, x=20, y=16, radius=8)
    frame = encode_pixels("a", paint(labels, (GREEN,)), (labels,), PictureSettings(short_side=64))

    assert cv2.imdecode(np.frombuffer(frame.image, np.uint8), cv2.IMREAD_COLOR).shape == (33, 40, 3)
    assert frame.ids == (1,)


def test_sa_v_is_packed_with_its_decoded_frames(tmp_path: Path) -> None:
    write_sav(tmp_path, "sav_000001")
    (tmp_path / "sav_train" / "sav_000" / "sav_000002.mp4").write_bytes(b"no annotation beside it")
    index = pack_data(tmp_path, tmp_path / "pack")

    [sequence] = find_sequences(tmp_path / "pack")["sa-v"]
    assert [frame.stem for frame in sequence.frames] == ["00000", "00004", "00008"]
    assert np.unique(read_labels(sequence.masks[2])).tolist() == [0, 1, 4]
    assert abs(int(read_image(sequence.frames[2]).mean()) - 160) <= 6
    assert [(each.name, each.frame) for each in index.skipped] == [("sav_000002", None)]


def test_broken_files_are_left_out_and_listed(tmp_path: Path) -> None:
    root = write_data(tmp_path / "data")
    frames = root / "train/video/davis2016-train/JPEGImages/roller"
    whole = (frames / "00003.jpg").read_bytes()
    (frames / "00003.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "train/images/greens/masks/a.png").write_bytes(b"no picture")
    Image.new("L", (10, 10)).save(root / "train/video/davis2016-train/Annotations/roller/00005.png")
    for path in (root / "train/video/youtube-vos-sub/JPEGImages/jumper").iterdir():
        if path.stem != "00001":
            path.write_bytes(b"")
    index = pack_data(root, tmp_path / "pack")

    assert [frame.stem for frame in find_sequence(tmp_path / "pack", "roller").frames] == [
        f"{number:05d}" for number in range(12) if number not in (3, 5)
    ]
    assert set(find_sequences(tmp_path / "pack")) == {"davis2016-train"}
    assert set(find_stills(tmp_path / "pack")) == {"blues"}
    listed = [(each.name, each.frame, each.reason) for each in index.skipped]
    assert [each[:2] for each in listed] == [
        ("roller", "00003"),
        ("roller", "00005"),
        *(("jumper", f"{number:05d}") for number in (0, 2, 3)),
        ("jumper", None),
        ("a", None),
    ]
    assert "expected a whole image" in listed[0][2]
    assert "expected (72, 128), got (10, 10)" in listed[1][2]
    assert listed[5][2] == "a single frame that is whole"
    assert read_index(tmp_path / "pack") == index


def test_frame_of_another_size_is_left_out(tmp_path: Path) -> None:
    root = write_davis(tmp_path / "data", "bear")
    write_pair(root / "JPEGImages/480p/bear/00001.jpg", root / "Annotations/480p/bear/00001.png", *two(40, 60))
    index = pack_data(root, tmp_path / "pack")

    assert [(each.frame, "expected (48, 64), got (40, 60)" in each.reason) for each in index.skipped] == [
        ("00001", True)
    ]
    assert [frame.stem for frame in find_sequence(tmp_path / "pack", "bear").frames] == ["00000", "00002"]


def test_data_that_is_broken_throughout_makes_no_pack(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_sequence(root, "davis2016-train", "roller", frames=2)
    for path in root.rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="a whole video or still"):
        pack_data(root, tmp_path / "pack")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_held_out_videos_are_not_in_a_pack_and_their_names_are_known(tmp_path: Path, data: Path) -> None:
    index = pack_data(data, tmp_path / "pack", hold_out=("jumper",))

    assert {sample.name for sample in index.samples} == {"roller", "a", "b", "alternatives"}
    assert index.held_out == ("jumper",)
    # Known to be out: a recipe that holds it out can be trained on the pack. A misspelt name is still refused.
    assert set(find_sequences(tmp_path / "pack", hold_out=["jumper"])) == {"davis2016-train"}
    assert find_sequences(tmp_path / "pack", hold_out=["roller"]) == {}
    with pytest.raises(DataError, match="got rollr"):
        find_sequences(tmp_path / "pack", hold_out=["rollr"])
    with pytest.raises(DataError, match="got jumpr"):
        pack_data(data, tmp_path / "other", hold_out=("jumpr",))


def test_video_that_shares_its_source_with_validation_is_packed_to_be_measured_and_not_trained_on(
    tmp_path: Path,
) -> None:
    for name in ("drift-turn", "bear"):
        write_sequence(tmp_path / "data", "davis2016-train", name, frames=2)
    pack_data(tmp_path / "data", tmp_path / "pack")

    assert [each.name for each in find_sequences(tmp_path / "pack")["davis2016-train"]] == ["bear"]
    assert len(find_sequence(tmp_path / "pack", "drift-turn").frames) == 2


def test_validation_sequence_never_enters_a_pack_whatever_the_finder_says(tmp_path: Path) -> None:
    write_davis(tmp_path / "data", "soapbox")
    folders = [tmp_path / "data" / kind / "480p" / "soapbox" for kind in ("JPEGImages", "Annotations")]
    item = FolderVideo(SequenceFolder("mine", "soapbox", *folders, complete=True))
    with pytest.raises(DataError, match="validation split, got soapbox"):
        write_pack([item], tmp_path / "pack", data_root=tmp_path, pictures=PictureSettings(), limits=PackLimits())
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_validation_sequence_in_an_index_is_refused(copied: Path) -> None:
    change_index(copied, lambda fields: fields["samples"][0].update(name="libby"))
    for read in (find_sequences, find_stills):
        with pytest.raises(DataError, match="validation split, got libby"):
            read(copied)
    with pytest.raises(DataError, match="validation split"):
        find_sequence(copied, "libby")


def test_only_named_data_sets_are_packed(data: Path) -> None:
    items, left_out, _ = find_items(data, None, datasets=("greens", "davis2016-train"))
    assert [item.name for item in items] == ["roller", "a", "alternatives"]
    assert left_out == ["jumper"]  # so that a recipe which holds it out still finds the name known
    with pytest.raises(DataError, match="got purples"):
        find_items(data, None, datasets=("purples",))


def test_limit_is_kept_to_the_byte_and_nothing_is_left_behind(tmp_path: Path, data: Path) -> None:
    pack_data(data, tmp_path / "pack")
    total = sum(path.stat().st_size for path in (tmp_path / "pack").iterdir())

    pack_data(data, tmp_path / "exact", limits=PackLimits(pack_bytes=total))
    with pytest.raises(DataError, match=r"size of the pack: expected at most .* MB, got more"):
        pack_data(data, tmp_path / "over", limits=PackLimits(pack_bytes=total - 1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exact", "pack"]


def test_shards_never_grow_over_the_limit_while_they_are_written(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    close = pack_writer._Shards.close

    def close_and_measure(shards: pack_writer._Shards) -> None:
        close(shards)
        sizes.append(sum(path.stat().st_size for path in shards._folder.iterdir()))

    monkeypatch.setattr(pack_writer._Shards, "close", close_and_measure)
    with pytest.raises(DataError, match="size of the pack"):
        pack_data(data, tmp_path / "pack", limits=PackLimits(shard_bytes=30_720, pack_bytes=102_400))
    assert max(sizes) <= 102_400


@pytest.mark.parametrize("when", ["before the first item", "at the third"])
def test_stop_leaves_nothing_behind(tmp_path: Path, data: Path, when: str) -> None:
    asked: Iterator[bool] = iter([True] if when == "before the first item" else [False, False, True])
    with pytest.raises(StoppedPackError):
        pack_data(data, tmp_path / "pack", stop=lambda: next(asked))
    assert list(tmp_path.iterdir()) == []


def test_keyboard_interrupt_leaves_nothing_behind(tmp_path: Path, data: Path) -> None:
    def interrupt() -> bool:
        if list(tmp_path.glob(".pack-*/shard-*")):
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        pack_data(data, tmp_path / "pack", stop=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_full_folder_is_not_written_to(tmp_path: Path, data: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="a new or empty folder"):
        pack_data(data, tmp_path / "pack")
    assert [path.name for path in (tmp_path / "pack").iterdir()] == ["notes.txt"]


def test_pack_is_not_packed_again(tmp_path: Path, pack: Path) -> None:
    with pytest.raises(DataError, match="got a pack"):
        find_items(pack, None)


def test_item_that_occurs_twice_is_refused(tmp_path: Path, data: Path) -> None:
    items, _, _ = find_items(data, None)
    with pytest.raises(DataError, match="davis2016-train/roller: expected each name once"):
        write_pack([*items, items[0]], tmp_path / "p", data_root=data, pictures=PictureSettings(), limits=PackLimits())


@pytest.mark.parametrize("settings", [{"short_side": 31}, {"quality": 0}, {"quality": 101}])
def test_settings_that_make_no_picture_are_refused(settings: dict) -> None:
    with pytest.raises(ContractError, match=next(iter(settings))):
        PictureSettings(**settings)


def test_limit_that_nothing_fits_in_is_refused() -> None:
    with pytest.raises(ContractError, match="shard size"):
        PackLimits(shard_bytes=1000)


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
def test_batches_of_a_run_are_the_same_from_a_pack(data: Path, pack: Path, workers: int) -> None:
    check_data(pack, short_recipe())
    from_files, from_pack = (list(iterate_steps(root, short_recipe(), 0, workers=workers)) for root in (data, pack))
    for first, second in zip(from_files, from_pack, strict=True):
        for name in ("frames", "masks", "points", "labels"):
            assert np.array_equal(getattr(first, name), getattr(second, name))
