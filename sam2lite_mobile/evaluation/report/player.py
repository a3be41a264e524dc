"""A player: frames with a slider, outlines of masks over them, charts with a cursor, and what the memory held."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sam2lite_mobile.evaluation.report.line_chart import LineChart

WORST_FRAMES = 6
"""Frames that are offered as the worst ones of a sequence."""


@dataclass(frozen=True)
class Layer:
    """Outlines that can be shown or hidden. style: class of their colour."""

    label: str
    style: str


@dataclass(frozen=True)
class PlayerFrame:
    """A frame that the slider stops at. image: data URI, "" without one. outlines: path data, one a layer. values: text
    for each series. memory: for each strip the cells in memory by the index of their frame."""

    index: int
    name: str
    image: str
    outlines: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    memory: tuple[dict[int, str], ...] = ()


@dataclass(frozen=True)
class Player:
    """Everything that one player shows. width, height: of its pictures, 0 without. start: position it opens at; worst:
    positions and words of the worst frames, worst first. strips: names of what has a memory to show."""

    id: str
    title: str
    width: int
    height: int
    frames: tuple[PlayerFrame, ...]
    layers: tuple[Layer, ...]
    series: tuple[Layer, ...]
    charts: tuple[LineChart, ...]
    strips: tuple[str, ...]
    start: int
    worst: tuple[tuple[int, str], ...]

    @property
    def opening(self) -> PlayerFrame:
        """The frame that it opens at, which the page shows without its script too."""
        return self.frames[self.start]

    def payload(self) -> dict[str, Any]:
        """What the script of the page needs, as JSON values."""
        return {
            "start": self.start,
            "frames": [
                {"i": f.index, "n": f.name, "s": f.image, "o": f.outlines, "v": f.values, "m": f.memory}
                for f in self.frames
            ],
        }


def chosen_frames(count: int, *, limit: int, always: Iterable[int] = ()) -> list[int]:
    """At most about `limit` of `count` frame positions, evenly apart, first and last among them, and `always`."""
    if count <= limit:
        return list(range(count))
    even = {round(step * (count - 1) / max(1, limit - 1)) for step in range(limit)}
    return sorted(even | {position for position in always if 0 <= position < count})


def lowest(values: Sequence[float], *, count: int = WORST_FRAMES, apart: int = 2) -> list[int]:
    """Positions of the lowest values, lowest first, no two closer than `apart`; what is not a number is passed over."""
    found: list[int] = []
    for position in sorted(range(len(values)), key=lambda each: values[each]):
        value = values[position]
        if value == value and all(abs(position - other) >= apart for other in found):
            found.append(position)
        if len(found) == count:
            break
    return found
