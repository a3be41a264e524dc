"""What may be stepped through a video: a `Tracker`, or a `FineTracker` around one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.runtime.frame_result import FrameResult
from sam2lite_mobile.runtime.prompts import Prompt


class VideoTracker(Protocol):
    """Tracks objects from frame to frame. Arguments, results and errors as `Tracker` has them."""

    def step(
        self,
        frame: NDArray[np.uint8],
        *,
        prompts: Mapping[int, Prompt] | None = None,
        size: int | None = None,
        window: int | None = None,
    ) -> FrameResult:
        """Track every object on the next frame of the video."""
        ...

    def memory_cells(self, object_id: int) -> dict[int, NDArray[np.int64]]:
        """Which cells of which frame the memory of an object holds now, oldest frame first."""
        ...
