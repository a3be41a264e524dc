"""Mask files, overlays, the video and the output folder: what is written, and what is left after a failure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sam2lite_mobile.errors import ContractError, DataError
from sam2lite_mobile.media.label_maps import exclusive_label_map, object_ids, read_label_map, write_label_map
from sam2lite_mobile.media.limits import MediaLimits
from sam2lite_mobile.media.output_folder import staged_folder
from sam2lite_mobile.media.overlay import draw_overlay
from sam2lite_mobile.media.palette import davis_palette, overlay_colour
from sam2lite_mobile.media.source import open_source
from sam2lite_mobile.media.video_writer import ENCODERS, VideoWriter
from sam2lite_mobile.runtime.frame_result import ObjectResult
from tests.media.clips import square_frame, square_mask

KNOWN = frozenset({"masks", "summary.json"})


def test_palette_starts_as_that_of_the_davis_annotations() -> None:
    first = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)]
    assert [tuple(colour) for colour in davis_palette()[:7].tolist()] == first
    assert tuple(davis_palette()[255].tolist()) == (224, 224, 192)
    assert len({tuple(colour) for colour in davis_palette().tolist()}) == 256


@given(st.integers(0, 2**32 - 1))
def test_label_map_comes_back_from_its_file(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    path = tmp_path_factory.mktemp("labels") / "m.png"
    labels = np.random.default_rng(seed).integers(0, 60, (17, 23)).astype(np.uint8)
    write_label_map(path, labels)
    np.testing.assert_array_equal(read_label_map(path), labels)
    with Image.open(path) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.reshape(image.getpalette(), (-1, 3)), davis_palette())
    assert [entry.name for entry in path.parent.iterdir()] == ["m.png"]


@pytest.mark.parametrize("mode", ["L", "1"])
def test_black_and_white_mask_is_object_one(tmp_path: Path, mode: str) -> None:
    Image.fromarray(square_mask(0).astype(np.uint8) * 255).convert(mode).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_label_map(tmp_path / "m.png"), square_mask(0).astype(np.uint8))


def test_a_single_id_other_than_white_is_kept(tmp_path: Path) -> None:
    write_label_map(tmp_path / "m.png", square_mask(0).astype(np.uint8) * 3)
    assert object_ids(read_label_map(tmp_path / "m.png")) == (3,)


def test_masks_in_colour_or_with_soft_edges_are_refused(tmp_path: Path) -> None:
    Image.fromarray(square_frame(0)).save(tmp_path / "colour.png")
    with pytest.raises(DataError, match="got mode RGB"):
        read_label_map(tmp_path / "colour.png")
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / "soft.png")
    with pytest.raises(DataError, match="at most 64 object ids, got 255"):
        read_label_map(tmp_path / "soft.png")
    Image.fromarray(np.zeros((16, 16), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match="got mode I;16"):
        read_label_map(tmp_path / "deep.png")


def test_masks_over_the_size_limit_are_refused_by_their_header(tmp_path: Path) -> None:
    write_label_map(tmp_path / "m.png", np.zeros((20, 64), np.uint8))
    with pytest.raises(DataError, match="got 64 x 20"):
        read_label_map(tmp_path / "m.png", limits=MediaLimits(side_px=63))


def test_label_map_of_another_dtype_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"got int64 \(4, 4\)"):
        write_label_map(tmp_path / "m.png", np.zeros((4, 4), np.int64))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def result(object_id: int, columns: slice, logit: float, *, visible: bool = True) -> ObjectResult:
    mask = np.zeros((4, 8), np.bool_)
    mask[:, columns] = True
    logits = np.where(mask, np.float32(logit), np.float32(-1))[np.newaxis, np.newaxis]
    return ObjectResult(object_id, mask, logits.astype(np.float32), 1.0, 1.0, visible, False, {})


def test_overlapping_masks_go_to_the_higher_logit() -> None:
    labels = exclusive_label_map([result(1, slice(0, 5), 2), result(2, slice(3, 8), 5)], 4, 8)
    assert labels[0].tolist() == [1, 1, 1, 2, 2, 2, 2, 2]
    labels = exclusive_label_map([result(2, slice(3, 8), 1), result(1, slice(0, 5), 2)], 4, 8)
    assert labels[0].tolist() == [1, 1, 1, 1, 1, 2, 2, 2]


def test_objects_out_of_view_have_no_pixels() -> None:
    labels = exclusive_label_map([result(1, slice(0, 5), 2), result(2, slice(3, 8), 5, visible=False)], 4, 8)
    assert labels[0].tolist() == [1, 1, 1, 1, 1, 0, 0, 0]


def test_overlay_tints_the_object_and_leaves_the_rest() -> None:
    image = np.full((64, 96, 3), 100, np.uint8)
    labels = square_mask(0).astype(np.uint8) * 2
    drawn = draw_overlay(image, labels)
    colour = np.array(overlay_colour(2))
    np.testing.assert_allclose(drawn[28, 20], 100 * 0.58 + colour * 0.42, atol=0.51)
    np.testing.assert_allclose(drawn[16, 20], colour, atol=24)  # the contour, smoothed, on the object's first row
    assert (drawn[50:] == 100).all()
    assert (image == 100).all()


def test_overlay_without_objects_is_the_frame() -> None:
    np.testing.assert_array_equal(draw_overlay(square_frame(0), np.zeros((64, 96), np.uint8)), square_frame(0))


@pytest.mark.parametrize("encoder", [name for name, _ in ENCODERS])
def test_video_keeps_time_stamps_and_even_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: str) -> None:
    monkeypatch.setattr(
        "sam2lite_mobile.media.video_writer.ENCODERS", tuple(pair for pair in ENCODERS if pair[0] == encoder)
    )
    times = [0.5, 0.54, 0.6, 1.1]
    with VideoWriter(tmp_path / "v.mp4") as video:
        for step, time_s in enumerate(times):
            video.write(np.ascontiguousarray(square_frame(step)[:63, :95]), time_s)
    with open_source(str(tmp_path / "v.mp4")) as source:
        frames = list(source)
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.04, 0.1, 0.6], abs=1e-4)
    assert frames[0].image.shape == (64, 96, 3)
    for step, frame in enumerate(frames):
        assert np.count_nonzero((frame.image[..., 0] > 110) ^ square_mask(step)) < 60


def test_video_survives_clocks_that_stand_still(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "v.mp4") as video:
        for step, time_s in enumerate([0.0, 0.0, -1.0, 0.5]):
            video.write(square_frame(step), time_s)
    with open_source(str(tmp_path / "v.mp4")) as source:
        times = [frame.time_s for frame in source]
    assert times == pytest.approx([0, 1 / 60_000, 2 / 60_000, 0.5], abs=1e-6)


def test_video_of_an_interrupted_block_can_be_played(tmp_path: Path) -> None:
    def interrupted() -> None:
        with VideoWriter(tmp_path / "v.mp4") as video:
            video.write(square_frame(0), 0.0)
            video.write(square_frame(1), 0.04)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with open_source(str(tmp_path / "v.mp4")) as source:
        assert len(list(source)) == 2


def test_video_refuses_a_change_of_size(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "v.mp4") as video:
        video.write(square_frame(0), 0.0)
        with pytest.raises(ContractError, match="video frame"):
            video.write(square_frame(0)[:32], 0.1)


def test_folder_appears_complete_and_readable(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "run"
    with staged_folder(target, overwrite=False, known_names=KNOWN) as staged:
        (staged / "summary.json").write_text("new")
        assert not target.exists()
    assert (target / "summary.json").read_text() == "new"
    assert [entry.name for entry in target.parent.iterdir()] == ["run"]
    assert target.stat().st_mode & 0o555 == 0o555


def test_failure_leaves_nothing_behind_and_the_old_run_in_place(tmp_path: Path) -> None:
    target = tmp_path / "run"
    target.mkdir()
    (target / "summary.json").write_text("old")

    def failing() -> None:
        with staged_folder(target, overwrite=True, known_names=KNOWN) as staged:
            (staged / "summary.json").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert (target / "summary.json").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_overwrite_replaces_an_earlier_run_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "run"
    (target / "masks").mkdir(parents=True)
    with pytest.raises(DataError, match="add --overwrite"), staged_folder(target, overwrite=False, known_names=KNOWN):
        pass
    with staged_folder(target, overwrite=True, known_names=KNOWN) as staged:
        (staged / "summary.json").write_text("new")
    assert [entry.name for entry in target.iterdir()] == ["summary.json"]
    (target / "thesis.tex").write_text("precious")
    with pytest.raises(DataError, match=r"got thesis\.tex"), staged_folder(target, overwrite=True, known_names=KNOWN):
        pass
    assert (target / "thesis.tex").read_text() == "precious"


def test_files_and_links_are_no_place_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link", "file/below"):
        with pytest.raises(DataError), staged_folder(tmp_path / name, overwrite=True, known_names=KNOWN):
            pass


def test_empty_folder_is_taken(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "run", overwrite=False, known_names=KNOWN):
        (tmp_path / "run").mkdir()
    assert not list((tmp_path / "run").iterdir())
