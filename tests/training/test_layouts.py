"""Finding videos in the layouts of DAVIS, YouTube-VOS and SA-V; what is refused in each of them."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from sam2lite_mobile.errors import DataError
from sam2lite_mobile.media.video_writer import VideoWriter
from sam2lite_mobile.training import sa_v
from sam2lite_mobile.training.clips import ClipSettings, ClipSource
from sam2lite_mobile.training.image_files import read_labels
from sam2lite_mobile.training.layouts import Layout, detect_layout, sequence_folders
from sam2lite_mobile.training.pack_items import find_items
from sam2lite_mobile.training.sa_v import find_videos, read_masklets
from sam2lite_mobile.training.sources import find_sequences, find_stills
from tests.training.synthetic_data import GREEN, disk, paint, write_data, write_pair, write_sequence

HEIGHT, WIDTH = 48, 64


def write_davis(root: Path, *names: str, frames: int = 3, listed: tuple[str, ...] | None = None) -> Path:
    labels = disk(HEIGHT, WIDTH, x=30, y=20, radius=9)
    for name in names:
        for index in range(frames):
            image = root / "JPEGImages" / "480p" / name / f"{index:05d}.jpg"
            mask = root / "Annotations" / "480p" / name / f"{index:05d}.png"
            write_pair(image, mask, paint(labels, (GREEN,)), labels)
    if listed is not None:
        (root / "ImageSets" / "2017").mkdir(parents=True)
        (root / "ImageSets" / "2017" / "train.txt").write_text("\n".join(listed) + "\n")
    return root


def write_youtube(root: Path, *names: str, frames: int = 11) -> Path:
    labels = disk(HEIGHT, WIDTH, x=30, y=20, radius=9)
    for name in names:
        for index in range(frames):
            image = root / "train" / "JPEGImages" / name / f"{index:05d}.jpg"
            mask = root / "train" / "Annotations" / name / f"{index:05d}.png"
            write_pair(image, mask, paint(labels, (GREEN,)), labels)
            if index % 5:
                mask.unlink()
    return root


def runs(mask: np.ndarray) -> str:
    """Run-length text of a mask with runs under 16 * 32 in which no difference is taken: at most three runs."""
    column = mask.T.ravel()
    edges = np.flatnonzero(np.diff(column)) + 1
    lengths = np.diff([0, *edges, column.size])
    lengths = [0, *lengths] if column[0] else list(lengths)
    assert len(lengths) <= 3
    text = ""
    for length in lengths:
        digits = [int(length) >> shift & 31 for shift in (0, 5, 10, 15)]
        text += "".join(chr(48 + digit + 32) for digit in digits[:3]) + chr(48 + digits[3])
    return text


def write_sav(root: Path, name: str, *, change: Callable[[dict], None] = lambda fields: None) -> Path:
    """Nine frames at 24 a second, each of the grey 20 * its number, and masks on frames 0, 4 and 8 of two objects.

    Object 3 is the left half of the picture; object 0 is a column more to the right in each annotated frame and lies
    inside of it.
    """
    folder = root / "sav_train" / "sav_000"
    folder.mkdir(parents=True, exist_ok=True)
    with VideoWriter(folder / f"{name}.mp4") as video:
        for index in range(9):
            video.write(np.full((HEIGHT, WIDTH, 3), 20 * index, dtype=np.uint8), index / 24)
    half = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    half[:, : WIDTH // 2] = 1
    masklet = []
    for index in range(3):
        column = np.zeros_like(half)
        column[:, 4 + index] = 1
        masklet.append([{"size": [HEIGHT, WIDTH], "counts": runs(mask)} for mask in (column, half)])
    fields = {
        "video_id": name,
        "video_height": float(HEIGHT),
        "video_width": float(WIDTH),
        "video_split": "train",
        "masklet": masklet,
        "masklet_id": [0, 3],
    }
    change(fields)
    (folder / f"{name}_manual.json").write_bytes(msgspec.json.encode(fields))
    return root


def test_layouts_are_told_apart(tmp_path: Path) -> None:
    assert detect_layout(write_data(tmp_path / "a")) is Layout.OURS
    assert detect_layout(write_davis(tmp_path / "b", "bear")) is Layout.DAVIS
    assert detect_layout(write_youtube(tmp_path / "c", "003234408d")) is Layout.YOUTUBE_VOS
    assert detect_layout(write_sav(tmp_path / "d", "sav_000001")) is Layout.SA_V
    assert detect_layout(tmp_path) is None


def test_validation_sequence_is_refused_in_every_layout(tmp_path: Path) -> None:
    write_sequence(tmp_path / "ours", "my-set", "camel", frames=2)
    write_davis(tmp_path / "davis", "bear", "camel")
    write_davis(tmp_path / "listed", "bear", "camel", listed=("bear", "camel"))
    write_youtube(tmp_path / "youtube", "camel")
    write_sav(tmp_path / "sav", "camel")
    for name in ("ours", "davis", "listed", "youtube", "sav"):
        with pytest.raises(DataError, match="validation split, got camel;"):
            find_items(tmp_path / name, None)
    for name in ("ours", "davis", "listed", "youtube"):
        with pytest.raises(DataError, match="validation split, got camel;"):
            find_sequences(tmp_path / name)


def test_davis_is_read_by_its_training_list(tmp_path: Path) -> None:
    write_davis(tmp_path, "camel", "lucia", "bear", listed=("lucia", "bear"))

    [(dataset, sequences)] = find_sequences(tmp_path).items()
    assert dataset == "davis"
    assert [each.name for each in sequences] == ["bear", "lucia"]
    assert [path.stem for path in sequences[0].frames] == ["00000", "00001", "00002"]
    assert find_stills(tmp_path) == {}


def test_listed_davis_sequence_that_is_missing_is_named(tmp_path: Path) -> None:
    write_davis(tmp_path, "bear", listed=("bear", "lucia"))

    with pytest.raises(DataError, match="sequence lucia"):
        find_sequences(tmp_path)


@pytest.mark.parametrize("name", ["../bear", "/bear", "..", "a/b"])
def test_listed_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    write_davis(tmp_path, "bear", listed=("bear", name))

    with pytest.raises(DataError, match="names of sequences"):
        sequence_folders(tmp_path, Layout.DAVIS)


def test_only_annotated_frames_of_youtube_vos_are_used(tmp_path: Path) -> None:
    write_youtube(tmp_path, "0a1b", "003234408d")

    first, second = find_sequences(tmp_path)["youtube-vos"]
    assert (first.name, second.name) == ("003234408d", "0a1b")
    for files in (first.frames, first.masks):
        assert [path.stem for path in files] == ["00000", "00005", "00010"]
    assert {path.suffix for path in first.masks} == {".png"}


def test_clips_are_made_from_youtube_vos_as_it_is(tmp_path: Path) -> None:
    write_youtube(tmp_path, "003234408d")

    clip = ClipSource(tmp_path, ClipSettings(size_px=32, frames=2, video_share=1.0), seed=0).clip(0)
    assert clip.source == "video/youtube-vos/003234408d"


def test_video_with_a_single_annotated_frame_is_refused(tmp_path: Path) -> None:
    write_youtube(tmp_path, "003234408d", frames=5)

    with pytest.raises(DataError, match="5 frames, 4 without a mask"):
        find_sequences(tmp_path)


def test_training_on_sa_v_asks_for_a_pack(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sam2lite data pack"):
        find_sequences(write_sav(tmp_path, "sav_000001"))


def test_masks_of_sa_v_meet_every_fourth_frame_and_small_objects_lie_on_large_ones(tmp_path: Path) -> None:
    [video], bare = find_videos(write_sav(tmp_path, "sav_000001"))

    frames = list(video.frames())
    assert not bare
    assert [name for name, _, _ in frames] == ["00000", "00004", "00008"]
    for index, (_, pixels, labels) in enumerate(frames):
        assert abs(int(pixels.mean()) - 80 * index) <= 6
        expected = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        expected[:, : WIDTH // 2] = 4
        expected[:, 4 + index] = 1
        assert np.array_equal(labels, expected)


def test_automatic_masks_of_sa_v_are_taken_where_there_are_no_manual_ones(tmp_path: Path) -> None:
    folder = write_sav(tmp_path, "sav_000001") / "sav_train" / "sav_000"
    (folder / "sav_000001_auto.json").write_bytes((folder / "sav_000001_manual.json").read_bytes())

    assert find_videos(tmp_path)[0][0].annotation.name == "sav_000001_manual.json"
    (folder / "sav_000001_manual.json").unlink()
    assert find_videos(tmp_path)[0][0].annotation.name == "sav_000001_auto.json"
    (folder / "sav_000001_auto.json").unlink()
    assert find_videos(tmp_path) == ([], [folder / "sav_000001.mp4"])


def shorten_masks(fields: dict) -> None:
    fields["masklet"][1][0]["size"] = [HEIGHT - 1, WIDTH]


def enlarge_all(fields: dict) -> None:
    fields["video_height"] = float(HEIGHT + 1)
    for masks in fields["masklet"]:
        for mask in masks:
            mask["size"] = [HEIGHT + 1, WIDTH]
            mask["counts"] = runs(np.zeros((HEIGHT + 1, WIDTH), dtype=np.uint8))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (shorten_masks, r"masks of the video's size \(48.0, 64.0\), got \(47, 64\)"),
        (enlarge_all, r"masks of frame 0: expected the video's size \(48, 64\), got \(49, 64\)"),
        (lambda fields: fields["masklet"][2].pop(), "a mask for each of 2 objects, got 1 in frame 2"),
        (lambda fields: fields["masklet"][0][0].update(counts="234NN"), "12 pixels in a mask of 3072"),
        (lambda fields: fields.update(video_split="val"), "training split, got val"),
        (lambda fields: fields.update(masklet_id=[0] * 300), "length <= 255"),
        (lambda fields: fields["masklet"][0][0].update(size=[10**6, 64]), "<= 4096"),
        (lambda fields: fields.pop("masklet"), "missing required field `masklet`"),
    ],
)
def test_annotation_of_sa_v_that_is_not_right_is_refused(
    tmp_path: Path, change: Callable[[dict], None], why: str
) -> None:
    [video], _ = find_videos(write_sav(tmp_path, "sav_000001", change=change))

    with pytest.raises(DataError, match=why):
        list(video.frames())


def test_oversize_annotation_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [video], _ = find_videos(write_sav(tmp_path, "sav_000001"))
    size = video.annotation.stat().st_size

    monkeypatch.setattr(sa_v, "MAX_JSON_BYTES", size)
    read_masklets(video.annotation)
    monkeypatch.setattr(sa_v, "MAX_JSON_BYTES", size - 1)
    with pytest.raises(DataError, match=f"1 to {size - 1} bytes"):
        read_masklets(video.annotation)


def test_masks_of_davis_keep_their_ids(tmp_path: Path) -> None:
    write_davis(tmp_path, "bear")
    [sequence] = find_sequences(tmp_path)["davis"]

    assert np.array_equal(read_labels(sequence.masks[0]), disk(HEIGHT, WIDTH, x=30, y=20, radius=9))
