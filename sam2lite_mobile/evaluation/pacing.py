"""How the size and the window of a measured tracker go from frame to frame: fixed, switched, or by the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.contract import SIZES, WINDOW_MAX
from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.runtime.adaptive_tracker import AdaptiveTracker
from sam2lite_mobile.runtime.frame_result import FrameResult
from sam2lite_mobile.runtime.prompts import Prompt
from sam2lite_mobile.runtime.scheduler import Scheduler, window_at
from sam2lite_mobile.runtime.video_tracker import VideoTracker

Step = Callable[[NDArray[np.uint8], Mapping[int, Prompt] | None], FrameResult]
"""Tracks the next frame of one video: the frame and its prompts in, the result out."""

SECOND_MS = 1000.0


class Pace(Protocol):
    """How the frames of a video are stepped."""

    def step_of(self, tracker: VideoTracker) -> Step:
        """The steps of one video with this tracker."""
        ...


@dataclass(frozen=True)
class FixedPace:
    """Every frame as the tracker was made."""

    def step_of(self, tracker: VideoTracker) -> Step:
        """The steps of one video."""
        return lambda frame, prompts: tracker.step(frame, prompts=prompts)


@dataclass(frozen=True)
class SwitchingPace:
    """Another size after every so many frames, to see what changes cost: down through `sizes` and up again.

    Windows are the scheduler's. A frame with prompts has the largest size and window, as under the scheduler.
    """

    every: int
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ContractError(explain("frames at a size", expected="1 or more", got=self.every, do="pass 5"))

    def size_at(self, index: int) -> int:
        """Size of frame `index`, from 0."""
        last = len(self.sizes) - 1
        place = (index // self.every) % max(2 * last, 1)
        return self.sizes[abs(last - place)]

    def step_of(self, tracker: VideoTracker) -> Step:
        """The steps of one video."""
        index = -1

        def step(frame: NDArray[np.uint8], prompts: Mapping[int, Prompt] | None) -> FrameResult:
            nonlocal index
            index += 1
            size = self.sizes[-1] if prompts else self.size_at(index)
            window = WINDOW_MAX if prompts else window_at(SIZES.index(size))
            return tracker.step(frame, prompts=prompts, size=size, window=window)

        return step


@dataclass(frozen=True)
class TargetPace:
    """The scheduler's choice, for a target in frames a second, from the largest size on in every video."""

    target_fps: float
    sizes: tuple[int, ...]

    def step_of(self, tracker: VideoTracker) -> Step:
        """The steps of one video, with a scheduler of its own; time is this machine's."""
        adaptive = AdaptiveTracker(tracker, Scheduler(SECOND_MS / self.target_fps, sizes=self.sizes))
        return lambda frame, prompts: adaptive.step(frame, time_ms=perf_counter() * SECOND_MS, prompts=prompts)


FIXED = FixedPace()
