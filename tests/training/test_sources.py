"""Finding and reading training data: what is refused, what is left out, what a mask's pixels mean."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam2lite_mobile.errors import DataError
from sam2lite_mobile.training.sources import (
    DAVIS_2016_VALIDATION,
    ImageCache,
    find_sequence,
    find_sequences,
    find_stills,
    read_labels,
    read_pair,
)
from tests.training.synthetic_data import GREEN, disk, paint, write_data, write_pair, write_sequence, write_still


def names(sets: dict) -> set[str]:
    return {item.name for items in sets.values() for item in items}


@pytest.mark.parametrize("name", sorted(DAVIS_2016_VALIDATION))
def test_validation_sequence_is_refused_under_any_data_set(tmp_path: Path, name: str):
    (tmp_path / "train" / "video" / "my-own-set" / "JPEGImages" / name).mkdir(parents=True)

    with pytest.raises(DataError, match=f"validation split, got {name};"):
        find_sequences(tmp_path)
    with pytest.raises(DataError, match="validation split"):
        find_sequence(tmp_path, name)


def test_validation_names_are_those_of_the_split_files(davis_root: Path):
    split = [line for path in (davis_root / "splits").glob("*.txt") for line in path.read_text().split()]

    assert sorted(split) == sorted(DAVIS_2016_VALIDATION)


def test_sequences_that_share_a_video_with_validation_are_left_out(tmp_path: Path):
    for name in ("drift-turn", "motocross-bumps", "bear"):
        write_sequence(tmp_path, "davis2016-train", name, frames=2)

    assert names(find_sequences(tmp_path)) == {"bear"}


def test_held_out_sequences_are_left_out_and_still_found_by_name(tmp_path: Path):
    write_data(tmp_path)

    assert names(find_sequences(tmp_path)) == {"roller", "jumper"}
    assert names(find_sequences(tmp_path, hold_out=["roller"])) == {"jumper"}
    assert len(find_sequence(tmp_path, "roller").frames) == 12


def test_misspelt_held_out_name_is_refused(tmp_path: Path):
    write_data(tmp_path)

    with pytest.raises(DataError, match="got rollr"):
        find_sequences(tmp_path, hold_out=["rollr", "jumper"])


def test_shared_source_video_may_be_held_out_by_name(tmp_path: Path):
    write_sequence(tmp_path, "davis2016-train", "drift-turn", frames=2)

    assert names(find_sequences(tmp_path, hold_out=["drift-turn"])) == set()


def test_frames_and_masks_are_paired_in_time_order(tmp_path: Path):
    write_sequence(tmp_path, "davis2016-train", "roller", frames=11)

    sequence = find_sequence(tmp_path, "roller")
    assert [path.stem for path in sequence.frames] == [f"{index:05d}" for index in range(11)]
    assert [path.stem for path in sequence.masks] == [path.stem for path in sequence.frames]


def test_frame_without_mask_is_refused(tmp_path: Path):
    write_sequence(tmp_path, "davis2016-train", "roller", frames=3)
    (tmp_path / "train/video/davis2016-train/Annotations/roller/00001.png").unlink()

    with pytest.raises(DataError, match="3 frames, 1 without a mask"):
        find_sequences(tmp_path)


def test_still_without_mask_is_refused(tmp_path: Path):
    write_data(tmp_path)
    (tmp_path / "train/images/greens/masks/a.png").unlink()

    with pytest.raises(DataError, match=r"mask of .*a\.jpg"):
        find_stills(tmp_path)


def test_alternative_label_maps_belong_to_the_same_still(tmp_path: Path):
    labels = disk(40, 40, x=20, y=20, radius=8)
    write_still(tmp_path, "bsds500", "a", labels=labels, colours=(GREEN,))
    folder = tmp_path / "train" / "images" / "bsds500"
    write_pair(tmp_path / "unused.jpg", folder / "masks_coarse" / "a.png", paint(labels, (GREEN,)), labels)

    [still] = find_stills(tmp_path)["bsds500"]
    assert [path.parent.name for path in still.masks] == ["masks", "masks_coarse"]


def test_palette_indices_are_read_as_object_ids(tmp_path: Path):
    labels = np.repeat(np.arange(4, dtype=np.uint8), 20).reshape(8, 10)
    write_pair(tmp_path / "a.jpg", tmp_path / "a.png", paint(labels, (GREEN,) * 3), labels)

    assert np.array_equal(read_labels(tmp_path / "a.png"), labels)


def test_pixels_are_rgb(tmp_path: Path):
    labels = np.ones((32, 32), dtype=np.uint8)
    write_pair(tmp_path / "a.jpg", tmp_path / "a.png", paint(labels, ((250, 120, 10),)), labels)

    pixels, _ = read_pair(tmp_path / "a.jpg", tmp_path / "a.png")
    assert np.abs(pixels.astype(int) - (250, 120, 10)).max() <= 3


def test_mask_of_another_size_is_refused(tmp_path: Path):
    labels = disk(40, 40, x=20, y=20, radius=8)
    write_pair(tmp_path / "a.jpg", tmp_path / "a.png", paint(labels, (GREEN,)), labels)
    write_pair(tmp_path / "b.jpg", tmp_path / "b.png", paint(labels[:30], (GREEN,)), labels[:30])

    with pytest.raises(DataError, match=r"expected \(40, 40\), got \(30, 40\)"):
        read_pair(tmp_path / "a.jpg", tmp_path / "b.png")


def test_colour_mask_is_refused(tmp_path: Path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")

    with pytest.raises(DataError, match="palette or grey, 8 bit, got RGB"):
        read_labels(tmp_path / "a.png")


def test_oversized_mask_is_refused_from_its_header(tmp_path: Path):
    Image.new("L", (4097, 1)).save(tmp_path / "a.png")

    with pytest.raises(DataError, match="sides up to 4096 px"):
        read_labels(tmp_path / "a.png")


@pytest.mark.parametrize("kept_bytes", [0, 10, 60])
def test_truncated_mask_is_refused(tmp_path: Path, kept_bytes: int):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:kept_bytes])

    with pytest.raises(DataError):
        read_labels(tmp_path / "a.png")


def test_cache_reads_a_pair_once_while_there_is_room(tmp_path: Path):
    labels = disk(40, 40, x=20, y=20, radius=8)
    for name in ("a", "b"):
        write_pair(tmp_path / f"{name}.jpg", tmp_path / f"{name}.png", paint(labels, (GREEN,)), labels)
    cache = ImageCache(limit_bytes=40 * 40 * 4)

    first = [cache.read(tmp_path / f"{name}.jpg", tmp_path / f"{name}.png") for name in ("a", "b")]
    second = [cache.read(tmp_path / f"{name}.jpg", tmp_path / f"{name}.png") for name in ("a", "b")]
    assert second[0][0] is first[0][0]
    assert second[1][0] is not first[1][0]
    assert np.array_equal(second[1][0], first[1][0])


def test_cached_pixels_cannot_be_changed(tmp_path: Path):
    labels = disk(40, 40, x=20, y=20, radius=8)
    write_pair(tmp_path / "a.jpg", tmp_path / "a.png", paint(labels, (GREEN,)), labels)
    pixels, mask = ImageCache(limit_bytes=2**20).read(tmp_path / "a.jpg", tmp_path / "a.png")

    for array in (pixels, mask):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
