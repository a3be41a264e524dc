"""Re-detection: when an object counts as out of view, and what it takes to be found again.

The visibility head is sure of objects that are not there (docs/failures.md); the predicted IoU is not. So an object
whose predicted IoU stays below a limit is out of view: nothing is shown, and nothing false is remembered or followed.
After a while only its anchors are left in memory. From then on the whole frame is looked at, whatever the last place
was, and a return has to be surer than what was lost: a search that may look everywhere finds something in every frame.
"""

from __future__ import annotations

from dataclasses import dataclass

from sam2lite_mobile.contract import WINDOW_MAX
from sam2lite_mobile.errors import ContractError, explain

LOST_AFTER = 3
"""Frames in a row below the limit that take an object out of view; those before are shown, but not remembered. In real
videos the predicted IoU of an object that is well seen dips for a frame; where it is hidden, it stays low."""
SEARCH_AFTER = WINDOW_MAX
"""Frames out of view after which the whole frame is searched: no ordinary token is in the memory window any more, so
memory speaks of the object's look alone, and its place is old."""
RETURN_MARGIN = 0.1
"""By how much the predicted IoU of a return exceeds the limit, once the whole frame is searched."""


USUAL_SHARE = 0.75
"""An object is also doubted below this share of its usual predicted IoU: 0.85 for a rhino, 0.65 for a paraglider."""
USUAL_FRAMES = 8
"""What is usual moves by 1/8 of the difference in a frame that is not doubted."""


@dataclass(frozen=True)
class Presence:
    """Whether an object is in view. unseen: frames since it was, 0 while it is. doubted: frames in a row, up to now,
    in which it was in view with a predicted IoU below its limit. usual: its usual predicted IoU, None before the first
    frame that says so.
    """

    unseen: int = 0
    doubted: int = 0
    usual: float | None = None

    @property
    def in_view(self) -> bool:
        """Whether the object is in view."""
        return self.unseen == 0

    def missed(self) -> Presence:
        """After another frame out of view."""
        return Presence(self.unseen + 1, 0, self.usual)

    def seen(self, quality: float) -> Presence:
        """After a frame in view without a doubt. usual: float64 before + (quality - before) / 8."""
        usual = quality if self.usual is None else self.usual + (quality - self.usual) / USUAL_FRAMES
        return Presence(0, 0, usual)


@dataclass(frozen=True)
class Redetection:
    """The rule for one limit. min_quality: predicted IoU, 0 to 1, below which any object is doubted; 0 turns
    re-detection off. Raises ContractError for another limit.
    """

    min_quality: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_quality <= 1.0:
            raise ContractError(
                explain("minimum quality", expected="0 to 1", got=self.min_quality, do="pass a predicted IoU")
            )

    def limit(self, before: Presence) -> float:
        """Predicted IoU below which an object of this presence is doubted."""
        if self.min_quality == 0.0 or before.usual is None:
            return self.min_quality
        return max(self.min_quality, USUAL_SHARE * before.usual)

    def searching(self, before: Presence) -> bool:
        """Whether the whole frame is searched for an object of this presence."""
        return self.min_quality > 0.0 and before.unseen >= SEARCH_AFTER

    def after(self, before: Presence, *, found: bool, quality: float) -> Presence:
        """The presence after a frame. found: the visibility head and the mask say that the object is there.
        quality: its predicted IoU.

        The limit itself counts. A return after a search has to reach the limit and the margin, but never more than 1,
        and whatever came back is on probation: if the next frame is doubted, the object is out of view again.
        """
        if not found:
            return before.missed()
        limit = self.limit(before)
        if before.in_view:
            if quality >= limit:
                return before.seen(quality)
            doubted = before.doubted + 1
            return Presence(0, doubted, before.usual) if doubted < LOST_AFTER else before.missed()
        if quality < (min(limit + RETURN_MARGIN, 1.0) if self.searching(before) else limit):
            return before.missed()
        return Presence(0, LOST_AFTER - 1, before.usual)
