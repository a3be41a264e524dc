"""The tracker over a scripted engine: life of an object, corrections, independence, failures, constant memory."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam2lite_mobile.contract import GRAPHS, MASK_PROMPT_LOGIT, SIZES
from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.runtime import MAX_OBJECTS, Box, FrameResult, MemoryBank, ObjectResult, Point, Prompt, Tracker
from sam2lite_mobile.runtime.stage_clock import STAGES
from tests.repository import ROOT
from tests.runtime.scripted_engine import ScriptedEngine, scene

RED, DARK = 200, 90
"""Tags of two objects."""
RED_BOX, DARK_BOX = (8, 8, 32, 40), (48, 16, 72, 56)
RED_PROMPT, DARK_PROMPT = Prompt.from_box(Box(*RED_BOX)), Prompt.from_box(Box(*DARK_BOX))


def moving(index: int) -> NDArray[np.uint8]:
    """A frame on which both objects move to and fro."""
    shift = abs(index % 8 - 4)
    red, dark = RED_BOX, DARK_BOX
    return scene(
        {
            RED: (red[0] + shift, red[1], red[2] + shift, red[3]),
            DARK: (dark[0], dark[1] - shift, dark[2], dark[3] - shift),
        }
    )


def tracker(engine: ScriptedEngine | None = None, **options: int) -> Tracker:
    return Tracker(engine or ScriptedEngine(), size=options.get("size", 256), window=options.get("window", 8))


def iou(mask: NDArray[np.bool_], box: tuple[int, int, int, int]) -> float:
    truth = np.zeros_like(mask)
    truth[box[1] : box[3], box[0] : box[2]] = True
    return float((mask & truth).sum() / (mask | truth).sum())


def assert_same_object(first: ObjectResult, second: ObjectResult) -> None:
    assert np.array_equal(first.mask, second.mask)
    assert np.array_equal(first.mask_logits, second.mask_logits)
    for name in ("object_id", "quality", "visibility", "visible", "prompted", "tokens_by_age"):
        assert getattr(first, name) == getattr(second, name), name


def assert_same_frame(first: FrameResult, second: FrameResult) -> None:
    assert (first.frame_index, first.size, first.window) == (second.frame_index, second.size, second.window)
    assert list(first.objects) == list(second.objects)
    for object_id, result in first.objects.items():
        assert_same_object(result, second.objects[object_id])


def test_object_is_followed_from_a_box() -> None:
    track = tracker()
    first = track.step(scene({RED: RED_BOX}), prompts={1: RED_PROMPT}).objects[1]
    assert first.prompted
    assert iou(first.mask, RED_BOX) > 0.8
    moved = (20, 12, 44, 44)
    result = track.step(scene({RED: moved}))
    assert result.frame_index == 1
    assert iou(result.objects[1].mask, moved) > 0.8
    assert result.objects[1].visible
    assert not result.objects[1].prompted
    assert result.objects[1].mask.shape == (64, 80)


@pytest.mark.parametrize("prompt", [RED_PROMPT, Prompt.from_points([Point(20, 20)])])
def test_every_kind_of_slot_starts_an_object(prompt: Prompt) -> None:
    result = tracker().step(scene({RED: RED_BOX, DARK: DARK_BOX}), prompts={1: prompt}).objects[1]
    assert iou(result.mask, RED_BOX) > 0.8


def test_mask_prompt_becomes_memory_without_the_decoder() -> None:
    engine = ScriptedEngine()
    track = tracker(engine)
    mask = np.zeros((64, 80), np.uint8)
    mask[8:40, 8:32] = 255
    result = track.step(scene({RED: RED_BOX, DARK: DARK_BOX}), prompts={1: Prompt.from_mask(mask)}).objects[1]
    assert engine.runs == {"image_encoder": 1, "memory_encoder": 1, "token_gate": 1}
    assert np.array_equal(result.mask, mask > 0)
    assert not np.shares_memory(result.mask, mask)
    assert (result.quality, result.visibility, result.visible) == (1.0, MASK_PROMPT_LOGIT, True)
    assert np.abs(result.mask_logits).max() == MASK_PROMPT_LOGIT
    assert iou(track.step(scene({RED: RED_BOX, DARK: DARK_BOX})).objects[1].mask, RED_BOX) > 0.8


def test_image_is_encoded_once_a_frame_whatever_the_number_of_objects() -> None:
    engine = ScriptedEngine()
    track = tracker(engine)
    track.step(moving(0), prompts={i: (RED_PROMPT, DARK_PROMPT)[i % 2] for i in range(1, 6)})
    assert engine.runs == {g: 1 if g == "image_encoder" else 5 for g in GRAPHS}
    engine.runs.clear()
    for index in range(1, 4):
        track.step(moving(index))
    # The eight empty prompt slots are encoded once.
    assert engine.runs == {
        "image_encoder": 3,
        "prompt_encoder": 1,
        "mask_decoder": 15,
        "memory_encoder": 15,
        "token_gate": 15,
    }


def test_no_graph_runs_without_objects_and_motion_still_follows() -> None:
    engine = ScriptedEngine()
    track, other = tracker(engine), tracker()
    result = track.step(moving(0))
    assert (result.frame_index, result.objects, engine.runs) == (0, {}, {})
    track.step(moving(3), prompts={1: RED_PROMPT})
    other.step(moving(3))  # another last frame: other motion, so other scores
    other.step(moving(3), prompts={1: RED_PROMPT})
    first, second = track.step(moving(4)).objects[1], other.step(moving(4)).objects[1]
    assert first.quality != second.quality


def test_object_that_left_writes_nothing_and_is_found_when_it_returns() -> None:
    engine = ScriptedEngine()
    track = tracker(engine, window=2)
    track.step(scene({RED: RED_BOX}), prompts={1: RED_PROMPT})
    before = track.step(scene({RED: RED_BOX})).objects[1].tokens_by_age
    engine.runs.clear()
    for gone in range(1, 21):
        result = track.step(scene({})).objects[1]
        assert not result.visible
        assert not result.mask.any()
        assert result.mask.shape == (64, 80)
        assert result.tokens_by_age == {age + gone: count for age, count in before.items()}
    assert engine.runs == {"image_encoder": 20, "mask_decoder": 20}
    back = (40, 20, 64, 52)
    result = track.step(scene({RED: back})).objects[1]
    assert result.visible
    assert iou(result.mask, back) > 0.8
    assert 0 in result.tokens_by_age


def test_only_anchors_are_seen_beyond_the_window() -> None:
    """The mask of frame 0 comes from the user; everything younger is out of a window of 2 after 3 frames."""
    engine = ScriptedEngine()
    views: list[tuple[float, float]] = []
    run = engine.run

    def spy(graph_id: str, tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        if "mask_decoder" in graph_id:
            in_view = tensors["memory_mask"][0] == 0
            views.append((in_view.sum(), tensors["memory_anchor"][0, in_view].sum()))
        return run(graph_id, tensors)

    engine.run = spy  # type: ignore[method-assign]
    track = tracker(engine, window=2)
    track.step(scene({RED: RED_BOX}), prompts={1: RED_PROMPT})
    track.step(scene({RED: RED_BOX}))
    for _ in range(3):
        track.step(scene({}))
    assert views == [(0, 0), (128, 128), (128, 85), (128, 85), (85, 85)]


def test_prompted_object_counts_as_visible_whatever_the_decoder_says() -> None:
    track = tracker()
    result = track.step(scene({}), prompts={1: RED_PROMPT}).objects[1]
    assert result.visibility < 0
    assert result.visible
    assert sum(result.tokens_by_age.values()) == 128


@pytest.mark.parametrize(
    ("visibility", "logit", "visible"),
    [(0.25, 1.0, True), (0.0, 1.0, False), (-0.25, 1.0, False), (0.25, 0.0, False), (0.25, -1.0, False)],
)
def test_object_is_in_view_where_visibility_and_some_mask_logit_are_above_zero(
    visibility: float, logit: float, visible: bool
) -> None:
    engine = ScriptedEngine()
    track = tracker(engine)
    track.step(moving(0), prompts={1: RED_PROMPT})
    run = engine.run

    def decided(graph_id: str, tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        outputs = run(graph_id, tensors)
        if "mask_decoder" in graph_id:
            outputs["visibility"][...] = visibility
            outputs["mask_logits"][...] = -2
            outputs["mask_logits"][0, 0, 30:34, 30:34] = logit
        return outputs

    engine.run = decided  # type: ignore[method-assign]
    result = track.step(moving(1)).objects[1]
    assert result.visible is visible
    assert result.mask.any() == visible
    assert (0 in result.tokens_by_age) is visible
    assert result.visibility == visibility


def test_prompted_frames_are_anchors() -> None:
    track = tracker()
    track.step(moving(0), prompts={1: RED_PROMPT})
    for index in range(1, 4):
        track.step(moving(index))
    track.step(moving(4), prompts={1: Prompt.from_points([Point(25, 20)])})
    for index in range(5, 30):
        ages = track.step(moving(index)).objects[1].tokens_by_age
    held = {29 - age: count for age, count in ages.items()}
    assert set(held) - {26, 27, 28, 29} <= {0, 4}
    assert sum(held.get(frame, 0) for frame in (0, 4)) == 85  # two thirds of 128


def test_correction_replaces_that_frames_tokens() -> None:
    engine = ScriptedEngine(bank_tokens=512)  # room for both frames: the wrong result pushes nothing out
    track, unaware = tracker(engine), tracker(ScriptedEngine(bank_tokens=512))
    for each in (track, unaware):
        each.step(moving(0), prompts={1: RED_PROMPT})
    wrong = track.step(moving(1)).objects[1]
    engine.runs.clear()
    corrected = track.correct(1, DARK_PROMPT)
    assert "image_encoder" not in engine.runs
    assert iou(wrong.mask, RED_BOX) > 0.5
    assert iou(corrected.mask, (48, 13, 72, 53)) > 0.8
    assert corrected.prompted
    # The same prompt at once, on a tracker that never saw the wrong result, leaves the same memory.
    at_once = unaware.step(moving(1), prompts={1: DARK_PROMPT}).objects[1]
    assert_same_object(corrected, at_once)
    assert_same_frame(track.step(moving(2)), unaware.step(moving(2)))


def test_background_click_takes_pixels_away_on_the_same_frame() -> None:
    track = tracker()
    before = track.step(moving(0), prompts={1: RED_PROMPT}).objects[1]
    after = track.correct(1, Prompt.from_points([Point(20, 20, 0)]))
    assert before.mask[20, 20]
    assert not after.mask[20, 20]
    assert after.mask.sum() > 0.5 * before.mask.sum()  # what the user said before on this frame still counts
    assert sum(after.tokens_by_age.values()) == 128
    assert set(after.tokens_by_age) == {0}


def test_object_can_be_added_on_the_last_frame() -> None:
    engine = ScriptedEngine()
    track, at_once = tracker(engine), tracker()
    track.step(moving(0))
    assert not engine.runs
    added = track.correct(4, DARK_PROMPT)
    assert engine.runs["image_encoder"] == 1
    assert_same_object(added, at_once.step(moving(0), prompts={4: DARK_PROMPT}).objects[4])
    track.correct(2, RED_PROMPT)
    assert engine.runs["image_encoder"] == 1
    assert track.object_ids == (2, 4)
    assert list(track.step(moving(1)).objects) == [2, 4]


@given(st.permutations([1, 2, 3]), st.integers(0, 3))
def test_objects_are_independent_of_each_other_and_of_order(order: list[int], start: int) -> None:
    prompts = {1: RED_PROMPT, 2: DARK_PROMPT, 3: Prompt.from_points([Point(60, 30)])}
    together = tracker()
    alone = {i: tracker() for i in prompts}
    together.step(moving(start), prompts={i: prompts[i] for i in order})
    for i, track in alone.items():
        track.step(moving(start), prompts={i: prompts[i]})
    for index in range(start + 1, start + 4):
        result = together.step(moving(index))
        assert list(result.objects) == [1, 2, 3]
        for i, track in alone.items():
            assert_same_object(result.objects[i], track.step(moving(index)).objects[i])


def test_removed_object_is_forgotten_and_the_others_stay() -> None:
    track, alone = tracker(), tracker()
    track.step(moving(0), prompts={1: RED_PROMPT, 2: DARK_PROMPT})
    alone.step(moving(0), prompts={2: DARK_PROMPT})
    track.remove(1)
    assert track.object_ids == (2,)
    assert_same_frame(track.step(moving(1)), alone.step(moving(1)))
    with pytest.raises(ContractError, match=r"object id: expected one of \[2\], got 1"):
        track.remove(1)
    again = track.step(moving(2), prompts={1: RED_PROMPT}).objects[1]
    assert set(again.tokens_by_age) == {0}


def test_every_new_object_gets_a_memory_of_its_own_where_another_kind_is_asked_for() -> None:
    made: list[MemoryBank] = []

    def new_memory() -> MemoryBank:
        made.append(MemoryBank(128))
        return made[-1]

    track = Tracker(ScriptedEngine(bank_tokens=128), size=256, new_memory=new_memory)
    track.step(moving(0), prompts={1: RED_PROMPT})
    track.step(moving(1), prompts={2: DARK_PROMPT})
    assert [memory.tokens_by_age(1) for memory in made] == [{0: 43, 1: 85}, {0: 128}]


def test_reset_tracker_is_as_new() -> None:
    track = tracker()
    for index in range(3):
        track.step(moving(index), prompts={1: RED_PROMPT} if index == 0 else None)
    track.reset()
    assert track.object_ids == ()
    with pytest.raises(ContractError, match="no frame yet"):
        track.correct(1, RED_PROMPT)
    fresh = tracker()
    for index in range(5, 8):
        prompts = {2: DARK_PROMPT} if index == 5 else None
        assert_same_frame(track.step(moving(index), prompts=prompts), fresh.step(moving(index), prompts=prompts))
    track.reset()
    assert track.step(np.zeros((9, 9, 3), np.uint8)).frame_index == 0


def test_size_and_window_may_change_between_frames() -> None:
    track = tracker()
    track.step(moving(0), prompts={1: RED_PROMPT})
    for index, size in enumerate(itertools.chain(SIZES, reversed(SIZES)), start=1):
        result = track.step(moving(index), size=size, window=2 + index % 7)
        assert (result.size, result.window) == (size, 2 + index % 7)
        assert result.objects[1].mask_logits.shape == (1, 1, size // 4, size // 4)
        shift = abs(index % 8 - 4)
        assert iou(result.objects[1].mask, (8 + shift, 8, 32 + shift, 40)) > 0.8
    assert track.step(moving(0)).size == 256


def test_latencies_cover_every_stage() -> None:
    ticks = itertools.count()
    track = Tracker(ScriptedEngine(), size=256, timer=lambda: next(ticks) / 1000)
    first = track.step(moving(0), prompts={1: RED_PROMPT, 2: DARK_PROMPT}).latency_ms
    assert tuple(first) == STAGES
    assert first["image_encoder"] == pytest.approx(1)
    assert first["resize"] == pytest.approx(2)  # resize, then the image tensor
    assert first["mask_decoder"] == pytest.approx(2)  # one for each object
    assert first["total"] > sum(first.values()) - first["total"]
    idle = tracker().step(moving(0)).latency_ms
    assert {stage for stage, value in idle.items() if value == 0} == set(STAGES) - {"resize", "motion", "total"}


FAILURES = ("raise", "nan", "shape", "missing")
STEP_FAILURES = [("image_encoder", 0), *((graph, after) for graph in GRAPHS[1:] for after in (0, 1))]
"""Graph, and how many of its runs go well first: with 1, all graphs of the first object have run."""


def two_trackers(engine: ScriptedEngine) -> tuple[Tracker, Tracker]:
    """A tracker over `engine` and another over an engine that never fails, both after three frames of two objects."""
    pair = tracker(engine), tracker()
    for track in pair:
        track.step(moving(0), prompts={1: RED_PROMPT, 2: DARK_PROMPT})
        track.step(moving(1))
        track.step(moving(2))
    engine.runs.clear()
    return pair


def assert_same_future(track: Tracker, untouched: Tracker) -> None:
    assert track.object_ids == untouched.object_ids == (1, 2)
    for index in range(3, 6):
        assert_same_frame(track.step(moving(index)), untouched.step(moving(index)))
    assert_same_object(track.correct(2, RED_PROMPT), untouched.correct(2, RED_PROMPT))


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize(("graph", "fail_after"), STEP_FAILURES)
def test_graph_that_fails_in_a_step_leaves_the_tracker_as_it_was(graph: str, fail_after: int, failure: str) -> None:
    engine = ScriptedEngine(failure=failure)
    track, untouched = two_trackers(engine)
    engine.fail_at, engine.fail_after = graph, fail_after
    with pytest.raises(RuntimeError if failure == "raise" else ContractError, match=graph):
        track.step(moving(3), prompts={1: DARK_PROMPT, 2: RED_PROMPT, 7: DARK_PROMPT}, size=304, window=2)
    engine.fail_at = None
    assert_same_future(track, untouched)


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("graph", GRAPHS[1:])
@pytest.mark.parametrize("object_id", [2, 7])
def test_graph_that_fails_in_a_correction_leaves_the_tracker_as_it_was(
    object_id: int, graph: str, failure: str
) -> None:
    engine = ScriptedEngine(failure=failure)
    track, untouched = two_trackers(engine)
    engine.fail_at = graph
    with pytest.raises(RuntimeError if failure == "raise" else ContractError, match=graph):
        track.correct(object_id, RED_PROMPT)
    engine.fail_at = None
    assert_same_future(track, untouched)


def test_lazy_encoding_that_fails_leaves_no_object() -> None:
    engine = ScriptedEngine(fail_at="image_encoder")
    track = tracker(engine)
    track.step(moving(0))
    with pytest.raises(RuntimeError, match="image_encoder"):
        track.correct(1, RED_PROMPT)
    assert track.object_ids == ()
    engine.fail_at = None
    assert iou(track.correct(1, RED_PROMPT).mask, (12, 8, 36, 40)) > 0.8


BAD_CALLS: dict[str, Callable[[Tracker], object]] = {
    "frame: expected": lambda track: track.step(np.zeros((64, 80), np.uint8)),
    "call reset before another video": lambda track: track.step(np.zeros((64, 81, 3), np.uint8)),
    "input size: expected one of": lambda track: track.step(moving(3), size=300),
    "memory window: expected 2 to 8": lambda track: track.step(moving(3), window=9),
    "object id: expected 1 to 255, got 0": lambda track: track.step(moving(3), prompts={0: RED_PROMPT}),
    "object id: expected 1 to 255, got 256": lambda track: track.correct(256, RED_PROMPT),
    "x in 0..80": lambda track: track.step(moving(3), prompts={3: Prompt.from_points([Point(81, 5)])}),
    "the frame's (64, 80)": lambda track: track.correct(1, Prompt.from_mask(np.ones((64, 81), np.uint8))),
    "background clicks only": lambda track: track.correct(3, Prompt.from_points([Point(5, 5, 0)])),
    f"at most {MAX_OBJECTS}": lambda track: track.step(
        moving(3), prompts=dict.fromkeys(range(3, MAX_OBJECTS + 3), RED_PROMPT)
    ),
}


@pytest.mark.parametrize("message", BAD_CALLS)
def test_wrong_call_says_what_to_do_and_leaves_the_tracker_as_it_was(message: str) -> None:
    engine = ScriptedEngine()
    track, untouched = tracker(engine), tracker()
    for each in (track, untouched):
        each.step(moving(0), prompts={1: RED_PROMPT, 2: DARK_PROMPT})
        each.step(moving(1))
    engine.runs.clear()
    with pytest.raises(ContractError) as caught:
        BAD_CALLS[message](track)
    assert message in str(caught.value)
    assert not engine.runs
    assert_same_frame(track.step(moving(2)), untouched.step(moving(2)))


def test_sizes_are_those_of_the_engine() -> None:
    engine = ScriptedEngine(sizes=(256, 512))
    with pytest.raises(ContractError, match=r"input size: expected one of \(256, 512\), got 304"):
        Tracker(engine, size=304)
    with pytest.raises(ContractError, match="memory window"):
        Tracker(engine, window=1)


def test_as_many_objects_as_the_limit_can_be_tracked() -> None:
    track = tracker()
    track.step(moving(0), prompts=dict.fromkeys(range(1, MAX_OBJECTS + 1), RED_PROMPT))
    with pytest.raises(ContractError, match="remove one first"):
        track.correct(MAX_OBJECTS + 1, RED_PROMPT)
    track.remove(1)
    track.correct(MAX_OBJECTS + 1, RED_PROMPT)
    assert len(track.object_ids) == MAX_OBJECTS


@pytest.mark.parametrize("count", [800, pytest.param(10_000, marks=pytest.mark.slow)])
def test_memory_and_time_are_constant_over_many_frames(count: int) -> None:
    track = tracker()
    frames = [moving(index) for index in range(8)]
    track.step(frames[0], prompts={1: RED_PROMPT})
    seconds = np.empty(count)
    tracemalloc.start()
    try:
        for index in range(count):
            started = time.thread_time()
            track.step(frames[(index + 1) % 8])
            seconds[index] = time.thread_time() - started
            if index == 104:
                early = traced_bytes()
        late = traced_bytes()
    finally:
        tracemalloc.stop()
    assert late - early < 64 * 1024
    assert np.percentile(seconds[-300:], 25) < 2 * np.percentile(seconds[100:400], 25)


def traced_bytes() -> int:
    """Bytes in use, without what waits for the garbage collector."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


TRACK_WITH_NUMPY_ALONE = """
import sys
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "cv2", "PIL", "av", "coremltools", "scipy"}:
            raise ModuleNotFoundError(f"not allowed here: {name}")
sys.meta_path.insert(0, Guard())
from tests.runtime.scripted_engine import ScriptedEngine, scene
from sam2lite_mobile.runtime import Box, Prompt, Tracker
track = Tracker(ScriptedEngine())
track.step(scene({9: (8, 8, 32, 40)}), prompts={1: Prompt.from_box(Box(8, 8, 32, 40))})
print(track.step(scene({9: (8, 8, 32, 40)})).objects[1].visible)
"""


def test_tracking_needs_numpy_alone() -> None:
    command = [sys.executable, "-c", TRACK_WITH_NUMPY_ALONE]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert result.stdout.strip() == "True", result.stderr


def test_memory_cells_are_those_of_the_objects_bank() -> None:
    track = Tracker(ScriptedEngine(bank_tokens=128), size=256)
    track.step(scene({RED: RED_BOX}), prompts={1: Prompt.from_box(Box(*RED_BOX))})
    result = track.step(scene({RED: RED_BOX})).objects[1]
    found = track.memory_cells(1)
    assert {1 - frame: cells.size for frame, cells in found.items()} == result.tokens_by_age
    with pytest.raises(ContractError, match="object id"):
        track.memory_cells(2)
