"""A tiny data folder whose objects have a colour of their own, so that a mask can be read off the pixels."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Bytes = NDArray[np.uint8]

GREEN, BLUE = (0, 255, 0), (0, 0, 255)
BACKGROUND = (200, 0, 0)


def disk(height: int, width: int, *, x: float, y: float, radius: float) -> Bytes:
    """Labels (height, width): 1 in a disk, else 0."""
    rows, columns = np.mgrid[:height, :width]
    return ((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).astype(np.uint8)


def paint(labels: Bytes, colours: tuple[tuple[int, int, int], ...]) -> Bytes:
    """Picture (H, W, 3) RGB: object `i` in `colours[i - 1]` before a plain background."""
    return np.array((BACKGROUND, *colours), dtype=np.uint8)[labels]


def write_pair(image: Path, mask: Path, pixels: Bytes, labels: Bytes) -> None:
    """A JPEG without loss of chroma, and a palette PNG whose palette is not grey."""
    for folder in (image.parent, mask.parent):
        folder.mkdir(parents=True, exist_ok=True)
    options = (
        (cv2.IMWRITE_JPEG_QUALITY, 100),
        (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    )
    cv2.imwrite(str(image), pixels[..., ::-1], [value for pair in options for value in pair])
    picture = Image.fromarray(labels)
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    picture.save(mask)


def write_sequence(data_root: Path, dataset: str, name: str, *, frames: int = 12, empty: tuple[int, ...] = ()) -> None:
    """A green disk that goes right by 2 px a frame; no object in the frames `empty`."""
    folder = data_root / "train" / "video" / dataset
    for index in range(frames):
        labels = disk(72, 128, x=40 + 2 * index, y=36, radius=14)
        if index in empty:
            labels[:] = 0
        stem = f"{index:05d}"
        image = folder / "JPEGImages" / name / f"{stem}.jpg"
        write_pair(image, folder / "Annotations" / name / f"{stem}.png", paint(labels, (GREEN,)), labels)


def write_still(
    data_root: Path, dataset: str, name: str, *, labels: Bytes, colours: tuple[tuple[int, int, int], ...]
) -> None:
    """A still with the objects of `labels` in `colours`."""
    folder = data_root / "train" / "images" / dataset
    pixels = paint(labels, colours)
    write_pair(folder / "images" / f"{name}.jpg", folder / "masks" / f"{name}.png", pixels, labels)


def write_data(data_root: Path) -> Path:
    """Two sequences, one of them of four frames, and two sets of one still each; gives back `data_root`."""
    write_sequence(data_root, "davis2016-train", "roller")
    write_sequence(data_root, "youtube-vos-sub", "jumper", frames=4)
    write_still(data_root, "greens", "a", labels=disk(96, 128, x=60, y=50, radius=19), colours=(GREEN,))
    write_still(data_root, "blues", "b", labels=disk(96, 96, x=44, y=46, radius=17), colours=(BLUE,))
    return data_root
