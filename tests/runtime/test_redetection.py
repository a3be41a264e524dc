"""Re-detection: what a limit of the predicted IoU hides, what is remembered, and what it takes to be found again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam2lite_mobile.contract import GraphSpec
from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.runtime import Box, FrameResult, Prompt, Tracker
from sam2lite_mobile.runtime.redetection import (
    LOST_AFTER,
    RETURN_MARGIN,
    SEARCH_AFTER,
    Presence,
    Redetection,
)
from tests.runtime.scripted_engine import LOGIT, ScriptedEngine, Tensors, scene

TAG = 200
LIMIT = 0.5
START, BACK = (8, 8, 24, 24), (56, 40, 72, 56)
"""Where the blob is at first, and where it comes back: the other corner of a frame of 80 x 64."""
EMPTY = scene({})


class DoubtingEngine(ScriptedEngine):
    """Sees something in the top left corner whenever the blob is not there, and says so only in the predicted IoU.

    present, absent: predicted IoU with the blob in the frame and without it.
    """

    def __init__(self, *, present: float = 0.9, absent: float = 0.3) -> None:
        super().__init__()
        self.present, self.absent = present, absent

    def _mask_decoder(self, spec: GraphSpec, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        outputs = super()._mask_decoder(spec, tensors)
        there = bool((outputs["mask_logits"] > 0).any())
        if not there:
            outputs["mask_logits"][0, 0, 6:20, 6:20] = LOGIT
        outputs["quality"] = np.full((1, 1), self.present if there else self.absent, np.float32)
        outputs["visibility"] = np.full((1, 1), 3, np.float32)
        return outputs


def hidden_then_back(tracker: Tracker, *, hidden: int) -> list[FrameResult]:
    """The blob for two frames, `hidden` frames without it, then one in the other corner."""
    prompt = {1: Prompt.from_box(Box(*START))}
    frames = [scene({TAG: START})] * 2 + [EMPTY] * hidden + [scene({TAG: BACK})]
    return [tracker.step(frame, prompts=prompt if index == 0 else None) for index, frame in enumerate(frames)]


def lies_in(mask: NDArray[np.bool_], box: tuple[int, int, int, int]) -> bool:
    """Whether the mask has a pixel, and none more than 3 pixels (a cell of the decoder is 1.25) outside of the box."""
    rows, columns = np.nonzero(mask)
    inside = (columns >= box[0] - 3) & (columns < box[2] + 3) & (rows >= box[1] - 3) & (rows < box[3] + 3)
    return rows.size > 0 and bool(inside.all())


def test_without_a_limit_what_is_not_there_is_drawn_and_remembered() -> None:
    results = hidden_then_back(Tracker(DoubtingEngine(), size=256), hidden=4)
    assert all(result.objects[1].mask.any() for result in results)
    assert set(results[5].objects[1].tokens_by_age) & {0, 1, 2, 3}, "a false frame is in memory"


@pytest.mark.parametrize("hidden", [LOST_AFTER, SEARCH_AFTER, SEARCH_AFTER + LOST_AFTER, 3 * SEARCH_AFTER])
def test_a_hidden_object_has_no_mask_and_is_found_in_another_corner_at_once(hidden: int) -> None:
    results = hidden_then_back(Tracker(DoubtingEngine(), size=256, min_quality=LIMIT), hidden=hidden)
    doubted = LOST_AFTER - 1
    for result in results[2 + doubted : -1]:
        assert not result.objects[1].visible
        assert not result.objects[1].mask.any()
    last_hidden = results[-2]
    assert min(last_hidden.objects[1].tokens_by_age) == hidden, "nothing was remembered while it was hidden"
    back = results[-1].objects[1]
    assert back.visible
    assert lies_in(back.mask, BACK)
    assert 0 in back.tokens_by_age


def test_after_a_while_a_return_has_to_be_surer_than_what_was_lost() -> None:
    def returns(quality: float, hidden: int) -> bool:
        tracker = Tracker(DoubtingEngine(present=quality), size=256, min_quality=LIMIT)
        return hidden_then_back(tracker, hidden=hidden)[-1].objects[1].visible

    between, sure = LIMIT + RETURN_MARGIN / 2, LIMIT + RETURN_MARGIN + 0.01
    searched = LOST_AFTER - 1 + SEARCH_AFTER
    assert returns(between, searched - 1)
    assert not returns(between, searched)
    assert returns(sure, searched)


def test_continuity_drops_no_part_once_the_whole_frame_is_searched() -> None:
    tiny, near, far = (7, 8, 12, 13), (9, 8, 14, 13), (68, 50, 72, 54)

    def found_after(hidden: int) -> NDArray[np.bool_]:
        tracker = Tracker(DoubtingEngine(), size=256, min_quality=LIMIT)
        tracker.step(scene({TAG: tiny}), prompts={1: Prompt.from_box(Box(*tiny))})
        for _ in range(hidden):
            tracker.step(EMPTY)
        both = scene({TAG: near})
        both[far[1] : far[3], far[0] : far[2]] = scene({TAG: far})[far[1] : far[3], far[0] : far[2]]
        mask = tracker.step(both).objects[1].mask
        assert mask[10, 11], "what is near is found in any case"
        return mask

    assert not found_after(LOST_AFTER)[far[1] : far[3], far[0] : far[2]].any()
    assert found_after(LOST_AFTER - 1 + SEARCH_AFTER)[far[1] : far[3], far[0] : far[2]].any()


def test_continuity_restarts_at_the_place_of_the_return() -> None:
    tracker = Tracker(DoubtingEngine(), size=256, min_quality=LIMIT)
    hidden_then_back(tracker, hidden=2 * SEARCH_AFTER)
    both = scene({TAG: BACK})
    both[8:24, 8:24] = scene({TAG: START})[8:24, 8:24]
    assert lies_in(tracker.step(both).objects[1].mask, BACK)


def test_a_prompt_counts_whatever_the_predicted_iou_says() -> None:
    tracker = Tracker(DoubtingEngine(present=0.1), size=256, min_quality=LIMIT)
    result = tracker.step(scene({TAG: START}), prompts={1: Prompt.from_box(Box(*START))}).objects[1]
    assert result.visible
    assert result.tokens_by_age[0] > 0


usuals = st.none() | st.floats(0, 1)
presences = st.builds(Presence, st.integers(0, 40), usual=usuals) | st.builds(
    Presence, st.just(0), st.integers(1, LOST_AFTER - 1), usuals
)


@given(quality=st.floats(0, 1), before=presences, found=st.booleans())
def test_without_a_limit_what_is_found_is_in_view_and_nothing_is_searched(
    quality: float, before: Presence, found: bool
) -> None:
    rule = Redetection()
    assert rule.after(before, found=found, quality=quality).in_view is found
    assert not rule.searching(before)


@given(limit=st.floats(0.01, 1), quality=st.floats(0, 1), before=presences)
def test_a_surer_frame_never_hides_what_a_less_sure_one_would_show(
    limit: float, quality: float, before: Presence
) -> None:
    rule = Redetection(limit)
    assert rule.after(before, found=True, quality=1.0).in_view
    if rule.after(before, found=True, quality=quality).in_view:
        assert rule.after(before, found=True, quality=(1 + quality) / 2).in_view
    assert not rule.after(before, found=False, quality=1.0).in_view


def test_one_frame_below_the_limit_is_no_loss_and_the_count_starts_again() -> None:
    rule, presence, shown = Redetection(LIMIT), Presence(), []
    for quality in (0.9, 0.4, 0.9, 0.4, 0.4, 0.4, 0.4):
        presence = rule.after(presence, found=True, quality=quality)
        shown.append(presence.in_view)
    assert shown == [True] * (3 + LOST_AFTER - 1) + [False] * (5 - LOST_AFTER)
    assert presence.unseen == 5 - LOST_AFTER


def test_limit_rises_with_what_is_usual_and_never_falls_below_the_one_that_was_asked_for() -> None:
    rule, presence = Redetection(LIMIT), Presence()
    for quality, usual in ((0.9, 0.9), (0.74, 0.88), (0.6, 0.88)):  # 0.9 + (0.74 - 0.9) / 8; 0.6 is doubted
        presence = rule.after(presence, found=True, quality=quality)
        assert presence.usual == pytest.approx(usual)
    assert presence.doubted == 1
    assert rule.limit(presence) == pytest.approx(0.66)
    assert rule.limit(Presence(usual=LIMIT)) == LIMIT
    assert Redetection().limit(presence) == 0


def test_return_is_on_probation() -> None:
    rule = Redetection(LIMIT)
    back = rule.after(Presence(3), found=True, quality=0.9)
    assert back.in_view
    assert not rule.after(back, found=True, quality=0.4).in_view
    settled = rule.after(back, found=True, quality=0.9)
    assert rule.after(settled, found=True, quality=0.4).in_view


@pytest.mark.parametrize("limit", [-0.1, 1.1, float("nan")])
def test_limit_that_is_no_iou_is_refused(limit: float) -> None:
    with pytest.raises(ContractError, match="minimum quality: expected 0 to 1"):
        Tracker(ScriptedEngine(), min_quality=limit)
