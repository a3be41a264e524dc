"""Re-detection: when an object counts as out of view, and what it takes to be found again.

The visibility head is sure of objects that are not there (docs/failures.md); the predicted IoU is not. So an object
whose predicted IoU is below a limit is out of view: nothing is shown, and nothing false is remembered or followed.
After a while only its anchors are left in memory. From then on the whole frame is looked at, whatever the last place
was, and a return has to be surer than what was lost: a search that may look everywhere finds something in every frame.
"""

from __future__ import annotations

from dataclasses import dataclass

from sam2lite_mobile.contract import WINDOW_MAX
from sam2lite_mobile.errors import ContractError, explain

SEARCH_AFTER = WINDOW_MAX
"""Frames out of view after which the whole frame is searched: no ordinary token is in the memory window any more, so
memory speaks of the object's look alone, and its place is old."""
RETURN_MARGIN = 0.1
"""By how much the predicted IoU of a return exceeds the limit, once the whole frame is searched."""


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

    def searching(self, unseen: int) -> bool:
        """Whether the whole frame is searched after `unseen` frames out of view."""
        return self.min_quality > 0.0 and unseen >= SEARCH_AFTER

    def accepts(self, quality: float, unseen: int) -> bool:
        """Whether a mask of this predicted IoU counts as the object, after `unseen` frames out of view.

        The limit itself counts. A return has to reach the limit and the margin, but never more than 1.
        """
        if self.searching(unseen):
            return quality >= min(self.min_quality + RETURN_MARGIN, 1.0)
        return quality >= self.min_quality
