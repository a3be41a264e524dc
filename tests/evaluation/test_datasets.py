"""Data sets in DAVIS layout: both layouts, splits, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam2lite_mobile.errors import DataError
from sam2lite_mobile.evaluation.datasets import DavisLayout, data_root, read_frame, read_mask, sample_clip
from tests.media.clips import square_frame, square_mask, write_davis


@pytest.mark.parametrize("level", [True, False])
def test_frames_come_with_their_annotations_with_and_without_the_480p_level(tmp_path: Path, level: bool) -> None:
    layout = DavisLayout(write_davis(tmp_path / "d", ["b", "a"], frames=3, level=level))
    assert layout.sequence_names() == ("a", "b")
    frames = layout.frames("a")
    assert [frame.name for frame in frames] == ["00000", "00001", "00002"]
    np.testing.assert_array_equal(read_frame(frames[2].image), square_frame(2))
    np.testing.assert_array_equal(read_mask(frames[2].annotation), square_mask(2))


def test_split_is_a_list_of_the_data_set_or_a_file_or_everything(tmp_path: Path) -> None:
    layout = DavisLayout(write_davis(tmp_path / "d", ["b", "a", "c"], frames=3))
    assert layout.split("tiny") == ("b", "a", "c")  # the order of the list
    assert layout.split("all") == ("a", "b", "c")
    (tmp_path / "mine.txt").write_text("c\n\n# comment\n a \n")
    assert layout.split(str(tmp_path / "mine.txt")) == ("c", "a")
    image_sets = tmp_path / "d" / "ImageSets" / "2017"
    image_sets.mkdir(parents=True)
    (image_sets / "val.txt").write_text("b\n")
    assert layout.split("val") == ("b",)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ("\n", "got none"),
        ("a\na\n", "got a, a"),
        ("zebra\n", "got 'zebra'"),
        ("../d\n", "got '../d'"),
        (".\n", "got '.'"),
    ],
)
def test_lists_that_name_nothing_here_are_refused(tmp_path: Path, content: str, got: str) -> None:
    layout = DavisLayout(write_davis(tmp_path / "d", ["a"], frames=3))
    (tmp_path / "list.txt").write_text(content)
    with pytest.raises(DataError, match=got):
        layout.split(str(tmp_path / "list.txt"))


def test_unknown_split_names_those_there_are(tmp_path: Path) -> None:
    layout = DavisLayout(write_davis(tmp_path / "d", ["a"], frames=3))
    for split in ("val", "../splits/tiny", "nowhere.txt"):
        with pytest.raises(DataError, match="'all', a file, or one of tiny"):
            layout.split(split)


def test_frame_without_annotation_is_refused(tmp_path: Path) -> None:
    layout = DavisLayout(write_davis(tmp_path / "d", ["a"], frames=3))
    (layout.annotations / "a" / "00001.png").unlink()
    with pytest.raises(DataError, match="a frame 00001"):
        layout.frames("a")


def test_folder_without_the_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="JPEGImages: expected a folder of sequences"):
        DavisLayout(tmp_path)


def test_data_root_follows_the_variable_and_is_none_if_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAM2LITE_DATA", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.setenv("SAM2LITE_DATA", str(tmp_path / "missing"))
    assert data_root() is None


def test_sample_clip_has_one_annotated_object(sample_clip: Path) -> None:
    layout = sample_clip_layout()
    assert layout.root == sample_clip
    (name,) = layout.sequence_names()
    frames = layout.frames(name)
    assert len(frames) >= 24
    assert np.unique(read_mask(frames[0].annotation)).tolist() == [0, 1]
    assert read_frame(frames[0].image).shape[:2] == read_mask(frames[0].annotation).shape


sample_clip_layout = sample_clip
"""The function, under another name: the fixture `sample_clip` hides it in the test."""
