"""The synthetic data folder: the same bytes for a seed, read like any other data, whole or made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sam2lite_mobile.training.clips import ClipSettings, ClipSource
from sam2lite_mobile.training.sources import find_sequences, find_stills
from sam2lite_mobile.training.synthetic import FRAMES, SEQUENCES, STILLS, write_synthetic_data


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first, second, other = (
        bytes_of(write_synthetic_data(tmp_path / str(number), seed=seed)) for number, seed in enumerate((0, 0, 1))
    )
    assert first == second
    assert first.keys() == other.keys()
    assert sum(first[name] != other[name] for name in first) > len(first) - 2  # all but the empty mark


def test_folder_is_read_as_videos_and_stills_with_an_object_in_every_frame(tmp_path: Path) -> None:
    root = write_synthetic_data(tmp_path)
    (sequences,) = find_sequences(root).values()
    (stills,) = find_stills(root).values()
    assert [len(sequence.frames) for sequence in sequences] == [FRAMES] * SEQUENCES
    assert len(stills) == STILLS
    for video_share in (0.0, 1.0):
        clip = ClipSource(root, ClipSettings(size_px=64, frames=3, video_share=video_share, leave=0.0), seed=1).clip(0)
        assert (clip.masks > 0).any((1, 2)).all()
        assert not np.array_equal(clip.frames[0], clip.frames[2])


def test_whole_folder_is_left_alone_and_half_a_one_is_made_again(tmp_path: Path) -> None:
    whole = bytes_of(write_synthetic_data(tmp_path))
    path = next((tmp_path / "train").rglob("*.jpg"))
    path.write_bytes(b"mine")
    write_synthetic_data(tmp_path)
    assert path.read_bytes() == b"mine"
    (tmp_path / "complete").unlink()
    write_synthetic_data(tmp_path)
    assert bytes_of(tmp_path) == whole
