"""The stream of clips: repeatable, honest masks, nothing from sequences that were held out."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from sam2lite_mobile.errors import ContractError, DataError
from sam2lite_mobile.training.clips import Clip, ClipSettings, ClipSource, contact_sheet
from tests.training.synthetic_data import BLUE, GREEN, disk, write_data, write_sequence, write_still

PLAIN = {
    "size_px": 64,
    "frames": 4,
    "colour": 0.0,
    "motion_blur": 0.0,
    "soft": 0.0,
    "noise": 0.0,
    "jpeg": 0.0,
    "occluder": 0.0,
    "distractor": 0.0,
    "video_overlay": 0.0,
    "leave": 0.0,
}
CROWDED = PLAIN | {"occluder": 1.0, "distractor": 1.0, "video_overlay": 1.0, "leave": 0.2}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def same(first: Clip, second: Clip) -> bool:
    return (
        np.array_equal(first.frames, second.frames)
        and np.array_equal(first.masks, second.masks)
        and first.source == second.source
    )


def colour_of(clip: Clip) -> tuple[int, int, int]:
    return BLUE if "blues" in clip.source else GREEN


def shows(clip: Clip) -> np.ndarray:
    """Where the clip's frames have the colour of its object, (T, R, R) bool."""
    channel = int(np.argmax(colour_of(clip)))
    return clip.frames[..., channel] > 127


def shrunk(area: np.ndarray) -> np.ndarray:
    """The area (R, R) bool without the two pixels along its outline, where soft edges mix colours."""
    return cv2.erode(area.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1) > 0


def test_clip_depends_on_seed_and_index_alone(data: Path):
    settings = ClipSettings(size_px=64)
    forwards = ClipSource(data, settings, seed=7)
    backwards = ClipSource(data, ClipSettings(size_px=64, cache_bytes=0), seed=7)

    first = [forwards.clip(index) for index in range(12)]
    second = [backwards.clip(index) for index in reversed(range(12))][::-1]
    assert all(same(a, b) for a, b in zip(first, second, strict=True))
    assert not any(same(first[0], other) for other in first[1:])
    assert not same(first[0], ClipSource(data, settings, seed=8).clip(0))


@pytest.mark.parametrize("video_share", [0.0, 1.0])
def test_shapes_dtypes_and_values(data: Path, video_share: float):
    clip = ClipSource(data, ClipSettings(size_px=96, frames=5, video_share=video_share), seed=0).clip(3)

    assert clip.frames.shape == (5, 96, 96, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.masks.shape == (5, 96, 96)
    assert clip.masks.dtype == np.uint8
    assert set(np.unique(clip.masks)) <= {0, 255}
    assert clip.source.startswith("video/" if video_share else "still/")


def test_video_share_is_the_share_of_video_clips(data: Path):
    source = ClipSource(data, ClipSettings(size_px=32, frames=2, video_share=0.25), seed=0)
    kinds = [source.clip(index).source.split("/")[0] for index in range(200)]

    assert 30 <= kinds.count("video") <= 70


@pytest.mark.parametrize("video_share", [0.0, 1.0])
def test_mask_is_exactly_where_the_object_is(data: Path, video_share: float):
    # The object's own image, filled in, is the background: no other object is in view.
    source = ClipSource(data, ClipSettings(**PLAIN, video_share=video_share, same_background=1.0), seed=1)

    moved = 0
    for index in range(60):
        clip = source.clip(index)
        for colour, mask in zip(shows(clip), clip.masks > 0, strict=True):
            assert colour[shrunk(mask)].all(), clip.source
            assert not colour[shrunk(~mask)].any(), clip.source
        moved += not np.array_equal(clip.masks[0], clip.masks[-1])
    assert moved >= 45  # a clip that runs back and forth may end where it began


def test_masked_pixels_show_the_object_whatever_passes_by(data: Path):
    source = ClipSource(data, ClipSettings(**CROWDED), seed=2)

    covered = 0
    for index in range(80):
        clip = source.clip(index)
        for colour, mask in zip(shows(clip), clip.masks > 0, strict=True):
            assert np.count_nonzero(~colour[shrunk(mask)]) <= 1, clip.source  # two soft edges may meet in a pixel
            covered += bool((colour & ~mask).any())
    assert covered > 20  # twins of the object that are not in its mask do occur


@pytest.mark.parametrize("video_share", [0.0, 1.0])
def test_object_is_in_view_in_the_first_frame(data: Path, video_share: float):
    settings = ClipSettings(**CROWDED, video_share=video_share, first_area_min=0.02, first_area_max=0.3)
    source = ClipSource(data, settings, seed=3)

    shares = [(source.clip(index).masks[0] > 0).mean() for index in range(60)]
    assert min(shares) >= 0.02
    assert max(shares) <= 0.3


def test_leaving_object_has_an_empty_mask_and_its_colour_is_gone(data: Path):
    settings = ClipSettings(**(PLAIN | {"leave": 1.0, "paste": 1.0, "same_background": 1.0}), video_share=0.0)
    source = ClipSource(data, settings, seed=4)

    returned = 0
    for index in range(40):
        clip = source.clip(index)
        empty = ~(clip.masks > 0).any(axis=(1, 2))
        assert empty.any()
        assert not empty[0]
        assert not shows(clip)[empty].any()
        returned += not empty[-1]
    assert returned > 10


def test_frame_of_a_video_without_the_object_has_an_empty_mask(tmp_path: Path):
    write_sequence(tmp_path, "davis2016-train", "surfer", frames=9, empty=(4,))
    source = ClipSource(tmp_path, ClipSettings(**(PLAIN | {"frames": 9, "gap_max": 1}), video_share=1.0), seed=0)

    for index in range(20):
        clip = source.clip(index)
        assert np.array_equal((clip.masks > 0).any(axis=(1, 2)), shows(clip).any(axis=(1, 2)))
        assert not clip.masks.any(axis=(1, 2)).all()


def test_clip_of_derived_tracks_ends_before_the_track_does(tmp_path: Path):
    write_sequence(tmp_path, "camvid-objects", "street", frames=9, empty=(4, 5))
    source = ClipSource(tmp_path, ClipSettings(**(PLAIN | {"frames": 3, "gap_max": 1}), video_share=1.0), seed=0)

    assert all(shows(source.clip(index)).any(axis=(1, 2)).all() for index in range(20))


def test_object_of_several_is_followed_by_its_id(tmp_path: Path):
    both = np.maximum(disk(72, 128, x=35, y=36, radius=16), 2 * disk(72, 128, x=90, y=36, radius=16))
    write_still(tmp_path, "pairs", "a", labels=both, colours=(GREEN, BLUE))
    source = ClipSource(tmp_path, ClipSettings(**(PLAIN | {"paste": 0.0}), video_share=0.0), seed=0)

    seen = set()
    for index in range(30):
        clip = source.clip(index)
        channel = int(clip.frames[0][shrunk(clip.masks[0] > 0)].mean(axis=0).argmax())
        for frame, mask in zip(clip.frames, clip.masks > 0, strict=True):
            assert (frame[shrunk(mask)][:, channel] > 127).all()
        seen.add(channel)
    assert seen == {1, 2}


def test_held_out_sequence_never_appears(data: Path):
    settings = ClipSettings(size_px=32, frames=2, video_share=1.0)
    open_source, closed = ClipSource(data, settings, seed=0), ClipSource(data, settings, seed=0, hold_out=("jumper",))

    assert any("jumper" in open_source.clip(index).source for index in range(100))
    assert not any("jumper" in closed.clip(index).source for index in range(100))
    assert closed.sequence_names() == ["davis2016-train/roller"]


def test_validation_sequence_in_the_training_folder_is_refused(tmp_path: Path):
    write_data(tmp_path)
    write_sequence(tmp_path, "davis2016-train", "blackswan", frames=2)

    with pytest.raises(DataError, match="blackswan"):
        ClipSource(tmp_path, ClipSettings(), seed=0)


def test_folders_beside_train_are_never_read(tmp_path: Path):
    write_data(tmp_path)
    (tmp_path / "davis" / "JPEGImages" / "480p" / "camel").mkdir(parents=True)
    (tmp_path / "davis" / "JPEGImages" / "480p" / "camel" / "00000.jpg").write_bytes(b"not an image")

    source = ClipSource(tmp_path, ClipSettings(size_px=32, frames=2, video_share=1.0), seed=0)
    assert source.sequence_names() == ["davis2016-train/roller", "youtube-vos-sub/jumper"]


@pytest.mark.parametrize(("video_share", "kind"), [(1.0, "videos"), (0.5, "videos"), (0.0, "stills")])
def test_missing_data_is_named(tmp_path: Path, video_share: float, kind: str):
    with pytest.raises(DataError, match=f"training {kind}.*SAM2LITE_DATA"):
        ClipSource(tmp_path, ClipSettings(video_share=video_share), seed=0)


def test_one_kind_of_data_is_enough_for_its_own_clips(tmp_path: Path):
    write_sequence(tmp_path, "davis2016-train", "roller")

    clip = ClipSource(tmp_path, ClipSettings(**(CROWDED | {"size_px": 32}), video_share=1.0), seed=0).clip(0)
    assert clip.source == "video/davis2016-train/roller"


def test_data_without_a_fitting_object_ends_in_an_error(tmp_path: Path):
    write_sequence(tmp_path, "davis2016-train", "nothing", frames=3, empty=(0, 1, 2))

    with pytest.raises(DataError, match="none in 200 draws"):
        ClipSource(tmp_path, ClipSettings(size_px=32, video_share=1.0), seed=0).clip(0)


def break_files(data_root: Path, pattern: str) -> None:
    for path in data_root.rglob(pattern):
        path.write_bytes(b"no picture")


def test_draw_that_meets_a_broken_file_is_skipped_and_reported(tmp_path: Path):
    write_data(tmp_path)
    break_files(tmp_path, "roller/00004.jpg")
    settings = ClipSettings(size_px=32, frames=2, video_share=1.0)
    source = ClipSource(tmp_path, settings, seed=0)

    reports = []
    for index in range(20):
        source.clip(index)
        reports += source.take_reports()
    assert 2 <= len(reports) <= 5
    assert re.match(r"skipped, 1 of \d+ draws broken: image .*roller/00004\.jpg: expected a JPEG", reports[0])
    assert source.take_reports() == []
    # What was drawn before does not matter: clips after broken draws are those of a source that had none before.
    assert all(same(source.clip(index), ClipSource(tmp_path, settings, seed=0).clip(index)) for index in range(20, 30))


def test_clips_that_meet_no_broken_file_are_those_of_whole_data(tmp_path: Path, data: Path):
    write_data(tmp_path)
    break_files(tmp_path, "roller/00004.jpg")
    settings = ClipSettings(size_px=32, frames=2, video_share=1.0)
    whole, broken = ClipSource(data, settings, seed=0), ClipSource(tmp_path, settings, seed=0)

    changed = 0
    for index in range(40):
        differs = not same(whole.clip(index), broken.clip(index))
        assert differs <= bool(broken.take_reports())
        changed += differs
    assert changed > 0


def test_broken_draws_are_allowed_up_to_one_in_a_hundred(tmp_path: Path):
    write_data(tmp_path)
    break_files(tmp_path, "roller/*.png")
    source = ClipSource(tmp_path, ClipSettings(size_px=32, frames=2, video_share=1.0), seed=0)

    def draw_on() -> None:
        for index in range(100):
            source.clip(index)

    stopped = "at most 1% of draws broken, got 11 of [0-9]+ draws broken, the last: image .*png"
    with pytest.raises(DataError, match=stopped):
        draw_on()
    assert len(source.take_reports()) == 10  # of 1000 draws that many may be broken; the next one ended it


def test_share_of_broken_draws_is_counted_over_all_draws(data: Path, monkeypatch: pytest.MonkeyPatch):
    source = ClipSource(data, ClipSettings(size_px=32, frames=2, video_share=1.0), seed=0)
    source._draws, source._broken = 4999, 49

    def broken(*arguments: object, **options: object) -> None:
        raise DataError("broken")

    monkeypatch.setattr("sam2lite_mobile.training.clips.video_scene", broken)
    with pytest.raises(DataError, match="got 51 of 5001 draws broken"):
        source.clip(0)


def test_negative_seed_is_refused(data: Path):
    with pytest.raises(ContractError, match="seed"):
        ClipSource(data, ClipSettings(), seed=-1)


@pytest.mark.parametrize(
    ("field", "value"),
    [("video_share", 1.1), ("jpeg", -0.1), ("size_px", 16), ("frames", 1), ("gap_max", 0), ("crop_min", 0.0)],
)
def test_setting_out_of_range_is_refused_by_name(field: str, value: float):
    with pytest.raises(ContractError, match=re.escape(field)):
        ClipSettings(**{field: value})


def test_area_range_the_wrong_way_round_is_refused():
    with pytest.raises(ContractError, match="area range"):
        ClipSettings(first_area_min=0.5, first_area_max=0.2)


def test_contact_sheet_has_a_row_a_clip_and_outlines_the_mask():
    masks = np.zeros((3, 64, 64), dtype=np.uint8)
    masks[1, 30:50, 20:40] = 255
    clip = Clip(np.zeros((3, 64, 64, 3), dtype=np.uint8), masks, "")

    sheet = contact_sheet([clip, clip])
    assert sheet.shape == (128, 192, 3)
    marked = sheet.any(axis=2)
    assert np.array_equal(marked[:64], marked[64:])
    rows, columns = np.nonzero(marked[:64])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (30, 49, 64 + 20, 64 + 39)
    assert len(rows) == 4 * 19
    assert not clip.frames.any()


def test_contact_sheet_of_nothing_is_refused():
    with pytest.raises(ValueError, match="one clip or more"):
        contact_sheet([])
