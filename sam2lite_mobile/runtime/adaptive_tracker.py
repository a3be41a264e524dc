"""A tracker whose size and memory window the scheduler chooses, frame by frame."""

from __future__ import annotations

from collections.abc import Mapping
from math import nan

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.runtime.frame_result import FrameResult
from sam2lite_mobile.runtime.prompts import Prompt
from sam2lite_mobile.runtime.scheduler import Decision, Measurement, Scheduler
from sam2lite_mobile.runtime.thermal_cap import NOMINAL
from sam2lite_mobile.runtime.video_tracker import VideoTracker


class AdaptiveTracker:
    """Steps a tracker with what a scheduler decided, and tells the scheduler what each frame took.

    The frame time is the `total` of the tracker's own timer: one `Tracker.step`, host work included. The engine should
    have every size of the scheduler loaded and warmed up. Corrections, removal and reset go to the tracker itself.
    """

    def __init__(self, tracker: VideoTracker, scheduler: Scheduler) -> None:
        self._tracker = tracker
        self._scheduler = scheduler
        self._decision = scheduler.decision

    @property
    def decision(self) -> Decision:
        """What the last frame ran with, and the step of the loop that led to it."""
        return self._decision

    def step(
        self,
        frame: NDArray[np.uint8],
        *,
        time_ms: float,
        prompts: Mapping[int, Prompt] | None = None,
        thermal_level: int = NOMINAL,
        headroom: float = nan,
    ) -> FrameResult:
        """Track the next frame; see `Tracker.step`. time_ms: when the frame came in, from a monotonic clock.

        A frame with prompts, and one without an object, does not count for the loop.
        Raises ContractError as both do; a frame that the tracker refused is not measured.
        """
        decision = self._scheduler.prompted if prompts else self._scheduler.decision
        result = self._tracker.step(frame, prompts=prompts, size=decision.size, window=decision.window)
        frame_ms = result.latency_ms["total"]
        counts = not prompts and bool(result.objects)
        self._scheduler.observe(Measurement(frame_ms, time_ms + frame_ms, thermal_level, headroom, counts))
        self._decision = decision
        return result
