"""One picture of an evaluated sequence: frames from beginning to end and the worst one, with what was found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.media.label_maps import object_ids
from sam2lite_mobile.media.optional import import_media_library
from sam2lite_mobile.media.overlay import draw_overlay

EVEN_FRAMES = 5
"""Frames from the first to the last one, evenly apart; the worst one follows as the last cell."""
COLUMNS = 3
CELL_WIDTH = 320
CAPTION_HEIGHT = 20
TRUTH_COLOUR = (255, 255, 255)
JPEG_QUALITY = 88

Picture = NDArray[np.uint8]


class SequencePicture:
    """Collects the cells of one sequence while it is evaluated; keeps a few small pictures, however long it is.

    Found masks are filled and outlined in their objects' colours; the outline of the annotation is white.
    """

    def __init__(self, frames: int) -> None:
        """frames: of the whole sequence, at least 2."""
        steps = np.linspace(0, frames - 1, EVEN_FRAMES)
        self._even = {round(float(step)) for step in steps}
        self._last = frames - 1
        self._cells: dict[int, Picture] = {}
        self._worst: tuple[float, Picture] | None = None

    def add(self, index: int, name: str, image: Picture, truth: Picture, predicted: Picture, j: float | None) -> None:
        """Take in a frame. j: its mean J over the objects, None where none is tracked yet.

        image: uint8 (height, width, RGB); truth, predicted: uint8 (height, width) of object ids.
        """
        # As in the means, the frame of the prompt (usually the first) and the last one do not count as the worst.
        worst = j is not None and 0 < index < self._last and (self._worst is None or j < self._worst[0])
        if index not in self._even and not worst:
            return
        caption = f"frame {name}" if j is None else f"frame {name}   J {100 * j:.1f}"
        cell = _cell(image, truth, predicted)
        if index in self._even:
            self._cells[index] = _captioned(cell, caption)
        if worst and j is not None:
            self._worst = (j, _captioned(cell, f"worst: {caption}"))

    def jpeg(self) -> bytes:
        """The picture as a JPEG file: rows of three cells. Call after the last frame."""
        cells = [self._cells[index] for index in sorted(self._cells)]
        if self._worst is not None:
            cells.append(self._worst[1])
        cells += [np.zeros_like(cells[0])] * (-len(cells) % COLUMNS)
        rows = [np.concatenate(cells[i : i + COLUMNS], axis=1) for i in range(0, len(cells), COLUMNS)]
        cv2 = import_media_library("cv2", purpose="drawing pictures of sequences")
        picture = np.concatenate(rows)
        done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if not done:
            raise RuntimeError("the picture of a sequence could not be encoded")
        return bytes(data.tobytes())


def _cell(image: Picture, truth: Picture, predicted: Picture) -> Picture:
    """A frame at the width of a cell, with both masks drawn."""
    cv2 = import_media_library("cv2", purpose="drawing pictures of sequences")
    height = max(1, round(CELL_WIDTH * image.shape[0] / image.shape[1]))
    small = cv2.resize(image, (CELL_WIDTH, height), interpolation=cv2.INTER_AREA)
    found, true = (cv2.resize(x, (CELL_WIDTH, height), interpolation=cv2.INTER_NEAREST) for x in (predicted, truth))
    drawn = draw_overlay(small, found)
    for object_id in object_ids(true):
        outline, _ = cv2.findContours((true == object_id).view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(drawn, outline, -1, TRUTH_COLOUR, 1, cv2.LINE_AA)
    return drawn


def _captioned(cell: Picture, text: str) -> Picture:
    cv2 = import_media_library("cv2", purpose="drawing pictures of sequences")
    band = np.zeros((CAPTION_HEIGHT, cell.shape[1], 3), dtype=np.uint8)
    cv2.putText(band, text, (6, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([band, cell])
