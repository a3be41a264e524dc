"""Memory by the gate, by a rule or without a budget, in the tracker."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2lite_mobile.contract import CHANNELS, MASKED, MEMORY_GRID, TOKENS_PER_FRAME, GraphSpec
from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.evaluation.memory_choice import MemoryChoice, choosing_tracker
from sam2lite_mobile.evaluation.selection import Selection
from sam2lite_mobile.evaluation.unbounded import UnboundedMemory
from sam2lite_mobile.runtime.memory_bank import FrameTokens, MemoryBank
from sam2lite_mobile.runtime.prompts import Box, Prompt
from sam2lite_mobile.runtime.tracker import Tracker
from sam2lite_mobile.student.constants import POSITION_CHANNELS, gaussian_code
from tests.runtime.scripted_engine import ScriptedEngine, Tensors, scene
from tests.training.short_runs import small_student

EVERYTHING = MemoryChoice(None)
TAG = 100


class PlacedEngine(ScriptedEngine):
    """The scripted engine with keys that tell their place, as the student's do."""

    def _memory_encoder(self, spec: GraphSpec, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        outputs = super()._memory_encoder(spec, tensors)
        outputs["keys"][..., -POSITION_CHANNELS:] = gaussian_code(MEMORY_GRID)
        return outputs


@pytest.fixture(scope="module")
def engine() -> TorchEngine:
    return TorchEngine(small_student())


def square(step: int) -> NDArray[np.uint8]:
    return scene({TAG: (32 + 8 * step, 32, 128 + 8 * step, 128)}, height=256, width=256)


def follow(tracker: Tracker, *, frames: int) -> list[float]:
    """The checksum of the memory in view on each frame but the first, which is prompted by a mask."""
    prompt = {1: Prompt.from_mask(square(0)[..., 0] == TAG)}
    results = [tracker.step(square(step), prompts=prompt if step == 0 else None) for step in range(frames)]
    return [result.objects[1].quality for result in results[1:]]


def tokens(frame: int, *, anchor: bool = False) -> FrameTokens:
    wide = np.full((TOKENS_PER_FRAME, CHANNELS), frame + 1, np.float32)
    flat = np.zeros(TOKENS_PER_FRAME, np.float32)
    return FrameTokens(frame, wide, -wide, flat, flat, anchor)


def test_every_selection_keeps_other_tokens() -> None:
    ends = {
        kind: follow(choosing_tracker(PlacedEngine(), MemoryChoice(kind), size=256, window=8), frames=5)[-1]
        for kind in Selection
    }
    assert len(set(ends.values())) == len(Selection)
    seeded = choosing_tracker(PlacedEngine(), MemoryChoice(Selection.RANDOM, 1), size=256, window=8)
    assert follow(seeded, frames=5)[-1] != ends[Selection.RANDOM]


def test_gate_is_the_plain_tracker() -> None:
    chosen = choosing_tracker(ScriptedEngine(), MemoryChoice(), size=256, window=3)
    assert follow(chosen, frames=6) == follow(Tracker(ScriptedEngine(), size=256, window=3), frames=6)


def test_second_video_does_not_depend_on_the_first() -> None:
    engine, choice = PlacedEngine(), MemoryChoice(Selection.RANDOM)
    first = follow(choosing_tracker(engine, choice, size=256, window=8), frames=5)
    assert follow(choosing_tracker(engine, choice, size=256, window=8), frames=5) == first


def test_engine_with_a_fixed_number_of_tokens_is_refused_without_a_budget() -> None:
    with pytest.raises(ContractError, match="unbounded memory: expected the engine torch, got scripted"):
        choosing_tracker(ScriptedEngine(), EVERYTHING, size=256, window=8)


def test_unbounded_memory_is_as_the_bank_while_both_hold_everything(engine: TorchEngine) -> None:
    prompt = {1: Prompt.from_mask(square(0)[..., 0] == TAG)}
    trackers = [Tracker(engine, size=256, window=8), choosing_tracker(engine, EVERYTHING, size=256, window=8)]
    for tracker in trackers:
        tracker.step(square(0), prompts=prompt)
    bank, everything = (tracker.step(square(1)).objects[1].mask_logits for tracker in trackers)
    np.testing.assert_allclose(everything, bank, atol=1e-4)


def test_unbounded_memory_grows_by_a_frame_a_frame(engine: TorchEngine) -> None:
    tracker = choosing_tracker(engine, EVERYTHING, size=256, window=2)
    box = {1: Prompt.from_box(Box(32, 32, 128, 128))}  # the first frame is decoded with nothing in memory
    for step in range(4):
        result = tracker.step(square(step), prompts=box if step in (0, 3) else None).objects[1]
        assert sum(result.tokens_by_age.values()) % TOKENS_PER_FRAME == 0
        assert result.tokens_by_age[step] == TOKENS_PER_FRAME
    before = result.tokens_by_age
    held = tracker.memory_cells(1)
    assert {3 - frame: cells.size for frame, cells in held.items()} == before
    assert tracker.correct(1, box[1]).tokens_by_age == before


def test_unbounded_view_has_every_frame_in_order_of_writing_and_no_window() -> None:
    memory, scores = UnboundedMemory(), np.zeros(0, np.float32)
    assert {name: array.shape[1] for name, array in memory.view(0, 8).items()} == dict.fromkeys(
        MemoryBank(128).view(0, 8), 0
    )
    for frame, anchor in ((0, True), (1, False), (150, False)):
        memory.replace_frame(tokens(frame, anchor=anchor), scores)
    view = memory.view(151, 2)
    heads = {name: array[0, ::TOKENS_PER_FRAME] for name, array in view.items()}
    assert heads["memory_keys"][:, 0].tolist() == [1, 2, 151]
    assert heads["memory_values"][:, 0].tolist() == [-1, -2, -151]
    assert heads["memory_age"].tolist() == [1, 1, 1 / 128]
    assert heads["memory_mask"].tolist() == [0, 0, 0]
    assert heads["memory_anchor"].tolist() == [1, 0, 0]
    assert memory.tokens_by_age(151) == {1: 256, 150: 256, 151: 256}
    assert list(memory.tokens_by_age(151)) == [1, 150, 151]
    assert all(array.dtype == np.float32 for array in view.values())


def test_corrected_frame_is_replaced_and_not_in_view_of_itself_unless_it_was_prompted() -> None:
    memory, scores = UnboundedMemory(), np.zeros(0, np.float32)
    for frame in (0, 1):
        memory.replace_frame(tokens(frame), scores)
    assert memory.view(1, 8)["memory_mask"][0, ::TOKENS_PER_FRAME].tolist() == [0, MASKED]
    memory.replace_frame(tokens(1, anchor=True), scores)
    assert memory.view(1, 8)["memory_mask"][0, ::TOKENS_PER_FRAME].tolist() == [0, 0]
    assert memory.tokens_by_age(1) == {0: 256, 1: 256}
