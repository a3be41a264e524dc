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


@dataclass(frozen=True)
class Presence:
    """Whether an object is in view. unseen: frames since it was, 0 while it is. doubted: frames in a row, up to now,
    in which it was in view with a predicted IoU below the limit.
    """

    unseen: int = 0
    doubted: int = 0

    @property
    def in_view(self) -> bool:
        """Whether the object is in view."""
        return self.unseen == 0


@dataclass(frozen=True)
class Redetection:
    """The rule for one limit. min_quality: predicted IoU, 0 to 1, below which an object is out of view; 0 turns
    re-detection off. Raises ContractError for another limit.
    """

    min_quality: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_quality <= 1.0:
            raise ContractError(
                explain("minimum quality", expected="0 to 1", got=self.min_quality, do="pass a predicted IoU")
            )

    def doubts(self, quality: float) -> bool:
        """Whether a mask of this predicted IoU is not remembered, though it may be shown."""
        return quality < self.min_quality

    def searching(self, before: Presence) -> bool:
        """Whether the whole frame is searched for an object of this presence."""
        return self.min_quality > 0.0 and before.unseen >= SEARCH_AFTER

    def after(self, before: Presence, *, found: bool, quality: float) -> Presence:
        """The presence after a frame. found: the visibility head and the mask say that the object is there.
        quality: its predicted IoU.

        The limit itself counts. A return after a search has to reach the limit and the margin, but never more than 1,
        and is on probation: one frame below the limit takes the object out of view again.
        """
        if not found:
            return Presence(before.unseen + 1)
        if self.min_quality == 0.0:
            return Presence()
        if not before.in_view:
            limit = min(self.min_quality + RETURN_MARGIN, 1.0) if self.searching(before) else self.min_quality
            return Presence(0, LOST_AFTER - 1) if quality >= limit else Presence(before.unseen + 1)
        doubted = before.doubted + 1 if self.doubts(quality) else 0
        return Presence(0, doubted) if doubted < LOST_AFTER else Presence(1)
