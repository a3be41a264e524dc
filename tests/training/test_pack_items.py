"""What goes into a pack: whole pictures, shrunk or byte for byte, nothing broken and nothing that is held out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sam2lite_mobile.errors import ContractError, DataError
from sam2lite_mobile.training.image_files import PackedFile, read_bytes, read_image, read_labels
from sam2lite_mobile.training.layouts import SequenceFolder
from sam2lite_mobile.training.pack_index import read_index
from sam2lite_mobile.training.pack_items import FolderVideo, PictureSettings, encode_pixels, find_items
from sam2lite_mobile.training.pack_writer import PackLimits, write_pack
from sam2lite_mobile.training.sources import find_sequence, find_sequences, find_stills
from tests.training.pack_samples import FRAMES, pack_data, picture_of
from tests.training.synthetic_data import GREEN, disk, paint, write_data, write_pair, write_sequence
from tests.training.test_layouts import write_davis, write_sav


def test_pictures_that_need_no_shrinking_are_packed_byte_for_byte(pack_source: Path, pack: Path) -> None:
    pairs: list[tuple] = []
    for name in FRAMES:
        files, packed = find_sequence(pack_source, name), find_sequence(pack, name)
        pairs += zip((*files.frames, *files.masks), (*packed.frames, *packed.masks), strict=True)
    for dataset, stills in find_stills(pack_source).items():
        for still, other in zip(stills, find_stills(pack)[dataset], strict=True):
            assert (still.name, still.parts) == (other.name, other.parts)
            pairs += zip((still.image, *still.masks), (other.image, *other.masks), strict=True)
    assert len(pairs) == 2 * sum(FRAMES.values()) + 2 * 3 + 2
    for path, inside in pairs:
        assert isinstance(inside, PackedFile)
        assert read_bytes(inside) == path.read_bytes()
        assert inside.stem == path.stem


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


@pytest.mark.parametrize("settings", [{"short_side": 31}, {"quality": 0}, {"quality": 101}])
def test_settings_that_make_no_picture_are_refused(settings: dict) -> None:
    with pytest.raises(ContractError, match=next(iter(settings))):
        PictureSettings(**settings)


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
    write_pair(root / "JPEGImages/480p/bear/00001.jpg", root / "Annotations/480p/bear/00001.png", *picture_of(40, 60))
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


def test_only_named_data_sets_are_packed(pack_source: Path) -> None:
    items, left_out, _ = find_items(pack_source, None, datasets=("greens", "davis2016-train"))
    assert [item.name for item in items] == ["roller", "a", "alternatives"]
    assert left_out == ["jumper"]  # so that a recipe which holds it out still finds the name known
    with pytest.raises(DataError, match="got purples"):
        find_items(pack_source, None, datasets=("purples",))


def test_held_out_videos_are_not_in_a_pack_and_their_names_are_known(tmp_path: Path, pack_source: Path) -> None:
    index = pack_data(pack_source, tmp_path / "pack", hold_out=("jumper",))

    assert {sample.name for sample in index.samples} == {"roller", "a", "b", "alternatives"}
    assert index.held_out == ("jumper",)
    # Known to be out: a recipe that holds it out can be trained on the pack. A misspelt name is still refused.
    assert set(find_sequences(tmp_path / "pack", hold_out=["jumper"])) == {"davis2016-train"}
    assert find_sequences(tmp_path / "pack", hold_out=["roller"]) == {}
    with pytest.raises(DataError, match="got rollr"):
        find_sequences(tmp_path / "pack", hold_out=["rollr"])
    with pytest.raises(DataError, match="got jumpr"):
        pack_data(pack_source, tmp_path / "other", hold_out=("jumpr",))


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


def test_pack_is_not_packed_again(tmp_path: Path, pack: Path) -> None:
    with pytest.raises(DataError, match="got a pack"):
        find_items(pack, None)


def test_item_that_occurs_twice_is_refused(tmp_path: Path, pack_source: Path) -> None:
    items, _, _ = find_items(pack_source, None)
    with pytest.raises(DataError, match="davis2016-train/roller: expected each name once"):
        write_pack(
            [*items, items[0]], tmp_path / "p", data_root=pack_source, pictures=PictureSettings(), limits=PackLimits()
        )
