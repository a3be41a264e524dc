"""What is timed: a subject runs one frame at a time and says where the time went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sam2lite_mobile.evaluation.bench.clocks import Times
from sam2lite_mobile.runtime.engine import EngineDescription

TOTAL, HOST = "total", "host"
"""Parts that are not graphs: the whole frame, and what happens outside the engine."""


@dataclass(frozen=True)
class FrameTimes:
    """One frame. parts: times by part, TOTAL among them. host_ms: wall time of the host's stages, where there are any.

    remembered: whether the frame was written to memory; one that was not did less work.
    """

    parts: Mapping[str, Times]
    host_ms: Mapping[str, float]
    remembered: bool


@dataclass(frozen=True)
class SubjectFacts:
    """What a subject is. size: side of the input in pixels. bank_tokens: of its full memory. scope: what is timed."""

    name: str
    size: int
    parameters: int | None
    bank_tokens: int
    engine: EngineDescription
    scope: str


class Subject(Protocol):
    """One model at one input size on the clip."""

    @property
    def facts(self) -> SubjectFacts:
        """What it is."""
        ...

    def prepare(self) -> None:
        """Run frames until the memory is full, so that every later frame does the same work."""
        ...

    def step(self) -> FrameTimes:
        """Run the next frame."""
        ...
