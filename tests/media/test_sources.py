"""Videos, folders and cameras as frames: order, time, orientation, ranges, and everything that is refused."""

from __future__ import annotations

import struct
import types
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sam2lite_mobile.errors import DataError, MissingBackendError
from sam2lite_mobile.media.frames import FrameRange
from sam2lite_mobile.media.image_folder import natural_key
from sam2lite_mobile.media.limits import MediaLimits
from sam2lite_mobile.media.optional import import_media_library
from sam2lite_mobile.media.source import open_source
from tests.media.clips import HEIGHT, WIDTH, square_frame, square_mask, write_pictures, write_video

FRAMES = [square_frame(step) for step in range(6)]


def test_folder_gives_its_pictures_in_natural_order(tmp_path: Path) -> None:
    for name, step in (("f10.png", 2), ("f2.png", 1), ("f1.png", 0)):
        Image.fromarray(FRAMES[step]).save(tmp_path / name)
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("not a picture")
    with open_source(str(tmp_path)) as source:
        frames = list(source)
    assert [frame.name for frame in frames] == ["f1", "f2", "f10"]
    assert [frame.index for frame in frames] == [0, 1, 2]
    for frame, expected in zip(frames, FRAMES, strict=False):
        np.testing.assert_array_equal(frame.image, expected)


def test_natural_key_compares_digits_as_numbers_and_has_no_ties() -> None:
    names = ["b1", "a10", "a2", "A3", "a02", "7", "10", "é", "²"]
    assert sorted(names, key=natural_key) == ["7", "10", "a02", "a2", "A3", "a10", "b1", "²", "é"]


def test_folder_turns_pictures_upright_by_their_exif_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn 90 degrees clockwise to see it
    Image.fromarray(FRAMES[0]).save(tmp_path / "0.png", exif=exif)
    with open_source(str(tmp_path)) as source:
        (frame,) = source
    np.testing.assert_array_equal(frame.image, np.rot90(FRAMES[0], k=-1))


@pytest.mark.parametrize(
    ("frame_range", "indices"),
    [
        (FrameRange(), [0, 1, 2, 3, 4, 5]),
        (FrameRange(4), [4, 5]),
        (FrameRange(0, 2), [0, 1]),
        (FrameRange(3, 2), [3, 4]),
        (FrameRange(3, 99), [3, 4, 5]),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "video.mp4", "video.webm"])
def test_range_keeps_the_indices_of_the_source(
    tmp_path: Path, kind: str, frame_range: FrameRange, indices: list[int]
) -> None:
    path = tmp_path / kind
    if kind == "folder":
        write_pictures(path, FRAMES)
    else:
        write_video(path, FRAMES, codec="libx264" if kind.endswith("mp4") else "libvpx")
    with open_source(str(path), frame_range) as source:
        frames = list(source)
    assert [frame.index for frame in frames] == indices
    for frame in frames:
        assert frame.name == f"{frame.index:05d}"
        red = frame.image[..., 0] > 100
        assert np.count_nonzero(red ^ square_mask(frame.index)) < 60  # coding blurs the edge


@pytest.mark.parametrize("kind", ["folder", "video.mp4", "video.webm"])
def test_start_after_the_end_is_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "folder":
        write_pictures(path, FRAMES)
    else:
        write_video(path, FRAMES, codec="libx264" if kind.endswith("mp4") else "libvpx")
    with pytest.raises(DataError, match="expected 0 to 5, got 6"), open_source(str(path), FrameRange(6)) as source:
        list(source)


@pytest.mark.parametrize("values", [(-1, None), (0, 0)])
def test_range_refuses_negative_starts_and_empty_lengths(values: tuple[int, int | None]) -> None:
    with pytest.raises(DataError):
        FrameRange(*values)


def test_video_keeps_a_variable_frame_rate(tmp_path: Path) -> None:
    times = [Fraction(t, 1000) for t in (0, 40, 50, 200, 201, 1000)]
    write_video(tmp_path / "v.mp4", FRAMES, times_s=times)
    with open_source(str(tmp_path / "v.mp4")) as source:
        assert [frame.time_s for frame in source] == pytest.approx([float(t) for t in times], abs=1e-6)


def test_video_counts_time_from_its_first_frame(tmp_path: Path) -> None:
    write_video(tmp_path / "v.webm", FRAMES, times_s=[Fraction(t, 1000) for t in range(500, 800, 50)], codec="libvpx")
    with open_source(str(tmp_path / "v.webm")) as source:
        assert [frame.time_s for frame in source] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25])


def test_phone_video_is_turned_upright(tmp_path: Path) -> None:
    """A phone held upright stores landscape pictures and the track matrix (0, 1, -1, 0): a quarter turn clockwise."""
    path = write_video(tmp_path / "v.mp4", FRAMES)
    data = bytearray(path.read_bytes())
    matrix = (
        data.index(b"tkhd") + 44
    )  # version 0 header: 4 name, 4 flags, 5 x 4 times and ids, 8 + 8 reserved and layer
    assert struct.unpack(">9i", data[matrix : matrix + 36]) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, HEIGHT << 16, 0, 1 << 30)
    path.write_bytes(data)
    with open_source(str(path)) as source:
        frame = next(iter(source))
    assert frame.image.shape == (WIDTH, HEIGHT, 3)
    assert frame.image.flags.c_contiguous
    assert np.count_nonzero((frame.image[..., 0] > 100) ^ np.rot90(square_mask(0), k=-1)) < 60


def test_a_playlist_with_the_ending_of_a_video_is_not_followed(tmp_path: Path) -> None:
    secret = write_video(tmp_path / "secret.mp4", FRAMES)
    playlist = tmp_path / "v.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile '{secret.name}'\n")
    with pytest.raises(DataError, match=r"v\.mp4: expected a whole video"):
        open_source(str(playlist))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.mp4", b"", "expected 1 to"),
        ("v.mp4", b"not a video at all", "expected a whole video"),
        ("v.gif", b"GIF89a", "got .gif"),
        ("missing.mp4", None, "got no such file"),
        ("video", b"\0" * 64, "got no ending"),
    ],
)
def test_broken_videos_are_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_source(str(tmp_path / name))


def test_video_that_is_cut_short_raises_a_data_error(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.webm", FRAMES, codec="libvpx")
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(DataError), open_source(str(path)) as source:
        list(source)


def test_sound_without_pictures_is_refused(tmp_path: Path) -> None:
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match="expected a video stream"):
        open_source(str(path))


def test_sizes_over_the_limits_are_refused_before_decoding(tmp_path: Path) -> None:
    folder, video = write_pictures(tmp_path / "f", FRAMES), write_video(tmp_path / "v.mp4", FRAMES)
    narrow, short = MediaLimits(side_px=WIDTH - 1), MediaLimits(frames=len(FRAMES) - 1)
    for limits, message in ((narrow, f"got {WIDTH} x {HEIGHT}"), (short, "at most 5 frames, got 6")):
        for path in (folder, video):
            with pytest.raises(DataError, match=message), open_source(str(path), limits=limits) as source:
                list(source)
    with pytest.raises(DataError, match="expected 1 to 10 bytes"):
        open_source(str(video), limits=MediaLimits(video_bytes=10))


def test_a_part_of_a_long_video_can_be_read(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", FRAMES)
    with open_source(str(video), FrameRange(2, 3), limits=MediaLimits(frames=3)) as source:
        assert [frame.index for frame in source] == [2, 3, 4]


def test_pictures_of_different_sizes_are_refused(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "f", [FRAMES[0], FRAMES[1][:-2]])
    with pytest.raises(DataError, match=r"00001\.png: expected 96 x 64 as in the first frame, got 96 x 62"):
        list(open_source(str(folder)))


def test_pictures_whose_masks_would_collide_are_refused(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "f", FRAMES[:1])
    Image.fromarray(FRAMES[0]).save(folder / "00000.jpg")
    with pytest.raises(DataError, match="expected one picture a name"):
        open_source(str(folder))


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a" + b"\0" * 40])
def test_broken_pictures_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "0.png").write_bytes(content)
    with pytest.raises(DataError, match=r"0\.png: expected"):
        list(open_source(str(tmp_path)))


def test_truncated_picture_is_refused_and_not_filled_with_grey(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "f", FRAMES[:1], suffix=".jpg")
    path = folder / "00000.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="truncated"):
        list(open_source(str(folder)))


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected JPEG or PNG pictures, got none"):
        open_source(str(tmp_path))


class FakeCapture:
    """Stands in for cv2.VideoCapture: three BGR frames, then nothing."""

    opened = True

    def __init__(self, device: int) -> None:
        self.device, self.reads, self.released = device, 0, False

    def isOpened(self) -> bool:  # noqa: N802
        return self.opened

    def set(self, key: int, value: float) -> None: ...

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.reads += 1
        return (True, FRAMES[self.reads - 1][:, :, ::-1]) if self.reads <= 3 else (False, None)

    def release(self) -> None:
        self.released = True


def test_a_number_is_a_camera_and_its_frames_are_rgb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cv2, "VideoCapture", FakeCapture)
    with open_source("0", FrameRange(1)) as source:
        frames = list(source)
    assert source.frame_count is None
    assert [frame.index for frame in frames] == [1, 2]
    np.testing.assert_array_equal(frames[0].image, FRAMES[1])
    assert frames[0].time_s <= frames[1].time_s


def test_a_folder_called_like_a_camera_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "0", FRAMES)
    with open_source("0") as source:
        assert source.frame_count == len(FRAMES)


def test_camera_that_does_not_open_is_a_data_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cv2, "VideoCapture", type("Closed", (FakeCapture,), {"opened": False}))
    with pytest.raises(DataError, match="camera 7: expected a camera that opens"):
        open_source("7")


def test_missing_library_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> types.ModuleType:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("importlib.import_module", refuse)
    with pytest.raises(MissingBackendError, match=r"pip install 'sam2lite-mobile\[video\]'"):
        import_media_library("av", purpose="reading videos")
