"""A tiny synthetic data folder, drawn here: textured shapes that move over textured ground.

It needs no download and trains nothing worth shipping. It is there to run every part of training in minutes, on a
machine that has no data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sam2lite_mobile.media.label_maps import write_label_map
from sam2lite_mobile.student.checkpoint import write_atomically
from sam2lite_mobile.training.clip_settings import Bytes
from sam2lite_mobile.training.motion import Generator

HEIGHT, WIDTH = 144, 256
SEQUENCES, FRAMES = 6, 30
STILLS = 16
CORNERS = 9
JPEG_QUALITY = 92


@dataclass(frozen=True)
class Shape:
    """A blob with a texture of its own: radii (CORNERS,) in pixels around its middle, colour field (64, 64, 3)."""

    radii: Bytes
    texture: Bytes

    def mask(self, *, x: float, y: float, scale: float, angle: float) -> Bytes:
        """uint8 (HEIGHT, WIDTH), 1 on the shape."""
        turns = angle + np.arange(CORNERS) * (2 * np.pi / CORNERS)
        corners = np.stack([x + scale * self.radii * np.cos(turns), y + scale * self.radii * np.sin(turns)], 1)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
        return mask


def write_synthetic_data(folder: Path, *, seed: int = 0) -> Path:
    """Write `train/` with videos and stills in the layout that training reads, and return `folder`.

    The same seed gives the same bytes. A folder that holds the data already is left as it is.
    """
    done = folder / "complete"
    if done.is_file():
        return folder
    rng = np.random.default_rng(seed)
    for number in range(SEQUENCES):
        _write_sequence(rng, folder / "train" / "video" / "shapes", f"shape-{number}")
    for number in range(STILLS):
        _write_still(rng, folder / "train" / "images" / "shapes-still", f"still-{number:02d}")
    write_atomically(done, b"")
    return folder


def _write_sequence(rng: Generator, folder: Path, name: str) -> None:
    target, other, ground = _shape(rng), _shape(rng), _texture(rng, HEIGHT + 64, WIDTH + 64)
    start, step = rng.uniform((70, 50), (WIDTH - 70, HEIGHT - 50)), rng.uniform(-2.5, 2.5, 2)
    grow, turn = rng.uniform(0.985, 1.015), rng.uniform(-0.08, 0.08)
    for frame in range(FRAMES):
        shift = rng.integers(0, 3, 2) + frame
        picture = np.ascontiguousarray(ground[shift[0] : shift[0] + HEIGHT, shift[1] : shift[1] + WIDTH])
        x, y = _bounce(start[0] + step[0] * frame, WIDTH), _bounce(start[1] + step[1] * frame, HEIGHT)
        mask = target.mask(x=x, y=y, scale=grow**frame, angle=turn * frame)
        behind = other.mask(x=WIDTH - x, y=y, scale=1.0, angle=-turn * frame)
        _paint(picture, other, behind)
        _paint(picture, target, mask)
        _write_pair(folder / "JPEGImages" / name, folder / "Annotations" / name, f"{frame:05d}", picture, mask)


def _write_still(rng: Generator, folder: Path, name: str) -> None:
    picture, labels = _texture(rng, HEIGHT, WIDTH), np.zeros((HEIGHT, WIDTH), np.uint8)
    for number, x in enumerate((70, WIDTH - 70), start=1):
        shape = _shape(rng)
        mask = shape.mask(
            x=x, y=HEIGHT / 2 + rng.uniform(-15, 15), scale=rng.uniform(0.7, 1.3), angle=rng.uniform(0, 6)
        )
        _paint(picture, shape, mask)
        labels[mask > 0] = number
    _write_pair(folder / "images", folder / "masks", name, picture, labels)


def _shape(rng: Generator) -> Shape:
    return Shape(rng.integers(18, 40, CORNERS).astype(np.uint8), _texture(rng, 64, 64))


def _texture(rng: Generator, height: int, width: int) -> Bytes:
    """A colour field (height, width, 3): a base colour and smooth blotches."""
    coarse = rng.integers(0, 90, (height // 16 + 2, width // 16 + 2, 3)).astype(np.float32)
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) + rng.uniform(0, 160, 3)
    return np.asarray(np.clip(field, 0, 255), dtype=np.uint8)


def _paint(picture: Bytes, shape: Shape, mask: Bytes) -> None:
    """Fill the mask with the shape's texture, in place; the texture moves with the shape's box."""
    rows, columns = np.nonzero(mask)
    if rows.size:
        picture[rows, columns] = shape.texture[(rows - rows.min()) % 64, (columns - columns.min()) % 64]


def _bounce(position: float, length: int) -> float:
    """A position that is reflected at a margin of 40 pixels, so that the shape stays in view."""
    span = length - 80
    folded = (position - 40) % (2 * span)
    return 40 + (folded if folded <= span else 2 * span - folded)


def _write_pair(images: Path, masks: Path, name: str, picture: Bytes, labels: Bytes) -> None:
    for folder in (images, masks):
        folder.mkdir(parents=True, exist_ok=True)
    _, packed = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    write_atomically(images / f"{name}.jpg", packed.tobytes())
    write_label_map(masks / f"{name}.png", labels)
