"""Small clips for tests: a square that moves over a plain background, as pictures, annotations and videos."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 64, 96
OBJECT_RED = 200
"""The scripted engine follows pixels of one red value."""


def square_mask(step: int, *, top: int = 16, side: int = 24) -> NDArray[np.bool_]:
    """The object in frame `step`: it moves 4 px to the right a frame."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    mask[top : top + side, 8 + 4 * step : 8 + 4 * step + side] = True
    return mask


def square_frame(step: int) -> NDArray[np.uint8]:
    frame = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    frame[..., 1] = 60
    frame[square_mask(step)] = (OBJECT_RED, 40, 40)
    return frame


def write_pictures(folder: Path, frames: Sequence[NDArray[np.uint8]], *, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{index:05d}{suffix}")
    return folder


def write_davis(root: Path, sequences: Sequence[str], *, frames: int = 8, level: bool = True) -> Path:
    """A data set in DAVIS layout: black and white annotations, a list of all sequences in splits/tiny.txt."""
    inner = ("480p",) if level else ()
    for name in sequences:
        write_pictures(root.joinpath("JPEGImages", *inner, name), [square_frame(step) for step in range(frames)])
        annotations = root.joinpath("Annotations", *inner, name)
        annotations.mkdir(parents=True)
        for step in range(frames):
            Image.fromarray(square_mask(step).astype(np.uint8) * 255).save(annotations / f"{step:05d}.png")
    (root / "splits").mkdir()
    (root / "splits" / "tiny.txt").write_text("# all of them\n" + "\n".join(sequences) + "\n")
    return root


def write_video(
    path: Path,
    frames: Sequence[NDArray[np.uint8]],
    *,
    times_s: Sequence[Fraction] | None = None,
    codec: str = "libx264",
) -> Path:
    """A video with the given time stamps (default: 25 frames a second)."""
    times = times_s or [Fraction(index, 25) for index in range(len(frames))]
    tick = Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, options={"crf": "4"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = tick
        for image, time_s in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = int(time_s / tick), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
