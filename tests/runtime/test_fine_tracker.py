"""The tracker behind a virtual camera: finer masks of tiny objects, and a plain tracker where nothing is tiny."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.media.label_maps import exclusive_label_map
from sam2lite_mobile.runtime import Box, FineTracker, Point, Prompt, Tracker
from sam2lite_mobile.runtime.fine_crop import PixelBox
from sam2lite_mobile.runtime.fine_tracker import FINER_AFTER
from sam2lite_mobile.runtime.redetection import LOST_AFTER, SEARCH_AFTER
from tests.runtime.scripted_engine import ScriptedEngine, scene
from tests.runtime.test_redetection import DoubtingEngine

RED, DARK = 200, 90
HEIGHT, WIDTH = 256, 320
WHOLE_FRAME = PixelBox(0, 0, HEIGHT, WIDTH)
Corners = tuple[int, int, int, int]
TINY: Corners = (105, 95, 126, 114)
"""19 rows of 256 and 21 columns of 320: under 1/8 of either, 4 to 5 pixels of a decoder's mask without a crop. The
scripted engine samples every 16th row and 20th column of a whole frame for its memory; row 104 and column 110 are
among them, so what is moved by a multiple of these is also remembered from a whole frame."""
LARGE: Corners = (50, 50, 150, 130)


def frame(rectangles: dict[int, Corners]) -> NDArray[np.uint8]:
    return scene(rectangles, height=HEIGHT, width=WIDTH)


def by_box(box: Corners) -> Prompt:
    return Prompt.from_box(Box(*box))


def moved(box: Corners, x: int, y: int = 0) -> Corners:
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y


def fine(engine: ScriptedEngine | None = None, *, min_quality: float = 0.0) -> FineTracker:
    return FineTracker(Tracker(engine or ScriptedEngine(), size=256, min_quality=min_quality))


def iou(mask: NDArray[np.bool_], box: Corners) -> float:
    truth = np.zeros_like(mask)
    truth[box[1] : box[3], box[0] : box[2]] = True
    return float((mask & truth).sum() / (mask | truth).sum())


def test_tiny_object_gets_a_finer_mask() -> None:
    coarse, finer = [], []
    for step in range(12):
        box = moved(TINY, 3 * step, step)
        prompts = {1: by_box(box)}
        coarse.append(
            iou(Tracker(ScriptedEngine(), size=256).step(frame({RED: box}), prompts=prompts).objects[1].mask, box)
        )
        finer.append(iou(fine().step(frame({RED: box}), prompts=prompts).objects[1].mask, box))
    assert np.mean(finer) > np.mean(coarse) + 0.05


def test_masks_lie_in_the_whole_frame_where_the_object_is() -> None:
    camera = fine()
    for step in range(12):
        box = moved(TINY, 3 * step, step)
        result = camera.step(frame({RED: box}), prompts={1: by_box(TINY)} if step == 0 else None).objects[1]
        assert result.mask.shape == (HEIGHT, WIDTH)
        assert result.crop is not None
        assert (result.crop.height, result.crop.width) == (HEIGHT // 2, WIDTH // 2)
        assert iou(result.mask, box) > 0.75


def test_large_object_is_tracked_as_without_a_camera() -> None:
    plain, camera = Tracker(ScriptedEngine(), size=256), fine()
    for step in range(6):
        picture = frame({RED: moved(LARGE, 4 * step)})
        prompts = {1: by_box(LARGE)} if step == 0 else None
        expected, result = (each.step(picture, prompts=prompts).objects[1] for each in (plain, camera))
        assert np.array_equal(result.mask, expected.mask)
        assert (result.quality, result.tokens_by_age) == (expected.quality, expected.tokens_by_age)
        assert result.crop == WHOLE_FRAME


def test_camera_follows_and_encodes_once_more_only_where_the_crop_changes() -> None:
    engine = ScriptedEngine()
    camera = fine(engine)
    crops, frames = [], 60
    for step in range(frames):
        box = moved(TINY, 3 * step)
        result = camera.step(frame({RED: box}), prompts={1: by_box(TINY)} if step == 0 else None).objects[1]
        assert iou(result.mask, box) > 0.8
        crops.append(camera.crop)
    changes = sum(new != old for old, new in pairwise(crops))
    assert 3 <= changes <= 5  # 177 pixels; 49 from the middle of a crop of 160 to its margin of 20
    assert engine.runs["image_encoder"] == frames + changes
    assert engine.runs["memory_encoder"] == frames + changes


def test_last_frame_is_remembered_again_in_the_new_crop_and_no_frame_is_lost() -> None:
    camera = fine()
    prompts = {1: by_box(TINY)}
    for step in range(30):
        result = camera.step(frame({RED: moved(TINY, 3 * step)}), prompts=prompts if step == 0 else None)
        ages = result.objects[1].tokens_by_age
        assert min(ages) == 0
        assert step in ages, "the tokens of the prompted frame are gone"
        if step:
            assert result.frame_index == step


def test_object_that_grows_leaves_the_crop_and_a_moment_of_smallness_does_not_enter_one() -> None:
    camera = fine()
    camera.step(frame({RED: TINY}), prompts={1: by_box(TINY)})
    for _ in range(6):  # a crop is chosen by what was seen a frame before, and shows a part of what is larger
        result = camera.step(frame({RED: LARGE}))
    assert camera.crop == WHOLE_FRAME
    result = camera.step(frame({RED: LARGE}))
    assert iou(result.objects[1].mask, LARGE) > 0.9
    crops = []
    for _ in range(FINER_AFTER + 1):
        camera.step(frame({RED: TINY}))
        crops.append(camera.crop)
    assert crops[:FINER_AFTER] == [WHOLE_FRAME] * FINER_AFTER
    assert crops[FINER_AFTER] != WHOLE_FRAME


def test_crop_holds_all_objects_or_the_whole_frame_is_looked_at() -> None:
    camera = fine()
    left, right, far = (105, 95, 119, 107), (125, 95, 139, 107), moved(TINY, 160, 112)
    both = {RED: left, DARK: right}
    result = camera.step(frame(both), prompts={1: by_box(left), 2: by_box(right)})
    assert camera.crop is not None
    assert camera.crop != WHOLE_FRAME
    assert all(iou(result.objects[each].mask, box) > 0.7 for each, box in ((1, left), (2, right)))
    camera.step(frame({**both, 50: far}), prompts={3: by_box(far)})
    assert camera.crop == WHOLE_FRAME
    camera.remove(3)
    for _ in range(FINER_AFTER + 1):
        camera.step(frame(both))
    assert camera.crop != WHOLE_FRAME
    assert camera.object_ids == (1, 2)


def test_new_object_that_is_clicked_on_may_be_large() -> None:
    camera = fine()
    click = Prompt.from_points([Point(115.0, 104.0)])
    camera.step(frame({RED: TINY}), prompts={1: click})
    assert camera.crop == WHOLE_FRAME
    for _ in range(FINER_AFTER):
        result = camera.step(frame({RED: TINY}))
    assert camera.crop != WHOLE_FRAME
    assert iou(result.objects[1].mask, TINY) > 0.85


def test_object_that_stays_out_of_view_is_searched_for_in_the_whole_frame_and_found() -> None:
    camera = fine(DoubtingEngine(), min_quality=0.5)
    camera.step(frame({RED: TINY}), prompts={1: by_box(TINY)})
    crop = camera.crop
    for _ in range(LOST_AFTER - 1):
        assert camera.step(frame({})).objects[1].visible, "for a frame it is in doubt only"
    for step in range(SEARCH_AFTER + 1):
        result = camera.step(frame({}))
        assert not result.objects[1].visible
        assert (camera.crop == crop) is (step < SEARCH_AFTER)
    back = moved(TINY, 160, 112)
    assert iou(camera.step(frame({RED: back})).objects[1].mask, back) > 0.5
    for _ in range(FINER_AFTER + 1):
        result = camera.step(frame({RED: back}))
    assert camera.crop != WHOLE_FRAME
    assert iou(result.objects[1].mask, back) > 0.85


def test_correction_in_the_crop_stays_there_and_one_outside_is_made_in_the_whole_frame() -> None:
    camera = fine()
    other = moved(TINY, 160, 112)
    camera.step(frame({RED: TINY, DARK: other}), prompts={1: by_box(TINY)})
    inside = camera.correct(1, Prompt.from_points([Point(115.0, 104.0)]))
    assert inside.crop != WHOLE_FRAME
    assert iou(inside.mask, TINY) > 0.85
    outside = camera.correct(1, Prompt.from_box(Box(*other)))
    assert outside.crop == WHOLE_FRAME
    assert iou(outside.mask, other) > 0.5
    assert iou(camera.step(frame({RED: TINY, DARK: other})).objects[1].mask, other) > 0.5


def test_mask_prompt_is_taken_as_it_is() -> None:
    camera = fine()
    mask = frame({RED: TINY})[..., 0] == RED
    result = camera.step(frame({RED: TINY}), prompts={1: Prompt.from_mask(mask)}).objects[1]
    assert np.array_equal(result.mask, mask)
    assert iou(camera.step(frame({RED: TINY})).objects[1].mask, TINY) > 0.85


def test_overlap_is_decided_by_the_logits_of_the_crop() -> None:
    camera = fine()
    result = camera.step(frame({RED: TINY}), prompts={1: by_box(TINY), 2: by_box(TINY)})
    labels = exclusive_label_map(result.objects.values(), HEIGHT, WIDTH)
    assert np.array_equal(labels == 1, result.objects[1].mask)
    assert not (labels == 2).any(), "of equal logits the lower id wins"


def test_failure_while_the_crop_changes_leaves_a_tracker_that_goes_on() -> None:
    for graph in ("image_encoder", "memory_encoder", "mask_decoder"):
        engine = ScriptedEngine(fail_after=10**9, fail_at=graph)
        camera = fine(engine)
        camera.step(frame({RED: TINY}), prompts={1: by_box(TINY)})
        camera.step(frame({RED: moved(TINY, 60)}))
        engine.fail_after = engine.runs[graph]
        with pytest.raises(RuntimeError, match="scripted failure"):
            camera.step(frame({RED: moved(TINY, 70)}))
        engine.fail_at = None
        result = camera.step(frame({RED: moved(TINY, 70)}))
        assert result.frame_index == 2
        assert iou(result.objects[1].mask, moved(TINY, 70)) > 0.8


def test_wrong_calls_are_refused_and_a_reset_starts_another_video() -> None:
    camera = fine()
    with pytest.raises(ContractError, match="call step first"):
        camera.correct(1, by_box(TINY))
    camera.step(frame({RED: TINY}), prompts={1: by_box(TINY)})
    with pytest.raises(ContractError, match="call reset before another video"):
        camera.step(scene({}))
    with pytest.raises(ContractError, match="object id"):
        camera.step(frame({RED: TINY}), prompts={0: by_box(TINY)})
    assert sum(cells.size for cells in camera.memory_cells(1).values()) > 0
    camera.reset()
    assert camera.object_ids == ()
    assert camera.crop is None
    first = camera.step(scene({RED: (8, 8, 32, 32)}), prompts={1: by_box((8, 8, 32, 32))})
    assert first.frame_index == 0


def test_recast_needs_a_frame_and_a_tracked_object() -> None:
    tracker = Tracker(ScriptedEngine(), size=256)
    picture = frame({RED: TINY})
    with pytest.raises(ContractError, match="call step first"):
        tracker.recast(picture, {})
    tracker.step(picture, prompts={1: by_box(TINY)})
    with pytest.raises(ContractError, match="object id"):
        tracker.recast(picture, {2: picture[..., 0] == RED})
    with pytest.raises(ContractError, match="mask prompt"):
        tracker.recast(picture, {1: np.ones((8, 8), np.bool_)})
