"""The remedies against known failures that a measurement or a run is made with; all of them are off by default."""

from __future__ import annotations

from dataclasses import dataclass

from sam2lite_mobile.runtime.fine_tracker import FineTracker
from sam2lite_mobile.runtime.tracker import Tracker
from sam2lite_mobile.runtime.video_tracker import VideoTracker


@dataclass(frozen=True)
class Remedies:
    """min_quality: predicted IoU, 0 to 1, below which an object is out of view and above which it is found again
    (`runtime/redetection.py`); 0 is off. fine: tiny objects are tracked in a crop (`runtime/fine_tracker.py`).
    """

    min_quality: float = 0.0
    fine: bool = False

    def around(self, tracker: Tracker) -> VideoTracker:
        """The tracker, made with this `min_quality`, behind a virtual camera if `fine` says so."""
        return FineTracker(tracker) if self.fine else tracker


NO_REMEDY = Remedies()
