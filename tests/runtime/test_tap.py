"""A first tap: when it is looked at twice, what the mean is, and that a failure in between leaves nothing behind."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2lite_mobile.contract import SIZES
from sam2lite_mobile.runtime import Box, Point, Prompt, Tracker
from sam2lite_mobile.runtime.tap import TAP_SIZE, mean_logits, takes_second_look
from sam2lite_mobile.runtime.tracker import Tensors
from tests.runtime.scripted_engine import ScriptedEngine, scene

FRAME = scene({200: (8, 8, 32, 40), 90: (48, 16, 72, 56)})
TAP = Prompt.from_points([Point(20, 24)])
BOX = Prompt.from_box(Box(8, 8, 32, 40))
MASK = Prompt.from_mask(FRAME[..., 0] == 200)
BOX_AND_TAP = Prompt.from_box(Box(8, 8, 32, 40), points=[Point(20, 24)])


class SizedEngine(ScriptedEngine):
    """Notes which graph ran at which size; at `TAP_SIZE` the mask decoder answers `coarse` everywhere, if given."""

    def __init__(
        self, *, sizes: tuple[int, ...] = SIZES, coarse: float | None = None, fail_coarse: bool = False
    ) -> None:
        super().__init__(sizes=sizes)
        self.ids: list[str] = []
        self.coarse, self.fail_coarse = coarse, fail_coarse

    def run(self, graph_id: str, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        self.ids.append(graph_id)
        outputs = super().run(graph_id, tensors)
        if graph_id == f"mask_decoder_{TAP_SIZE}":
            if self.fail_coarse:
                raise RuntimeError("the second look")
            if self.coarse is not None:
                outputs["mask_logits"] = np.full_like(outputs["mask_logits"], self.coarse)
        return outputs

    def decodings(self) -> list[str]:
        return [name for name in self.ids if name.startswith("mask_decoder")]


def test_first_tap_is_decoded_at_both_sizes_and_later_frames_at_one() -> None:
    engine = SizedEngine()
    tracker = Tracker(engine, size=512)
    result = tracker.step(FRAME, prompts={1: TAP})
    assert engine.decodings() == ["mask_decoder_512", f"mask_decoder_{TAP_SIZE}"]
    assert result.size == 512
    assert result.objects[1].mask_logits.shape == (1, 1, 128, 128)
    assert result.objects[1].mask[24, 20]
    assert not result.objects[1].mask[36, 60]
    engine.ids.clear()
    tracker.step(FRAME)
    tracker.step(FRAME, prompts={1: TAP})  # a correction has the memory of what is meant
    tracker.correct(1, TAP)
    assert engine.decodings() == ["mask_decoder_512"] * 3


def test_object_that_is_added_on_the_last_frame_by_a_tap_is_seen_the_same() -> None:
    together, later = Tracker(ScriptedEngine(), size=416), Tracker(ScriptedEngine(), size=416)
    expected = together.step(FRAME, prompts={1: TAP}).objects[1]
    later.step(FRAME)
    assert np.array_equal(later.correct(1, TAP).mask_logits, expected.mask_logits)


@pytest.mark.parametrize("prompt", [BOX, MASK, BOX_AND_TAP, None])
def test_what_knows_the_extent_is_looked_at_once(prompt: Prompt | None) -> None:
    assert not takes_second_look(prompt, 512, SIZES)


@pytest.mark.parametrize(("size", "sizes"), [(TAP_SIZE, SIZES), (512, (512,)), (512, (304, 512))])
def test_smallest_size_and_packages_without_it_look_once(size: int, sizes: tuple[int, ...]) -> None:
    engine = SizedEngine(sizes=sizes)
    Tracker(engine, size=size).step(FRAME, prompts={1: TAP})
    assert engine.decodings() == [f"mask_decoder_{size}"]


def test_mask_is_where_the_mean_of_both_is_above_zero() -> None:
    alone = Tracker(SizedEngine(sizes=(512,)), size=512).step(FRAME, prompts={1: TAP}).objects[1]
    strongest = float(alone.mask_logits.max())
    for coarse, visible_pixels in ((-strongest / 2, alone.mask.sum()), (-2 * strongest, 0)):
        both = Tracker(SizedEngine(coarse=coarse), size=512).step(FRAME, prompts={1: TAP}).objects[1]
        assert np.array_equal(both.mask_logits, (alone.mask_logits + np.float32(coarse)) * np.float32(0.5))
        assert both.mask.sum() == visible_pixels


def test_second_look_that_fails_leaves_no_object() -> None:
    engine = SizedEngine(fail_coarse=True)
    tracker = Tracker(engine, size=512)
    with pytest.raises(RuntimeError, match="the second look"):
        tracker.step(FRAME, prompts={1: TAP})
    assert tracker.object_ids == ()
    engine.fail_coarse = False
    assert tracker.step(FRAME, prompts={1: TAP}).frame_index == 0


def test_mean_of_logits_by_hand() -> None:
    fine = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    coarse = np.array([[0, 4], [8, 12]], np.float32).reshape(1, 1, 2, 2)
    across = np.array([0, 1, 3, 4], np.float32)  # 2 samples to 4 pixels: 1/4 and 3/4 between the centres
    spread = across[np.newaxis, :] + 2 * across[:, np.newaxis]
    assert np.array_equal(mean_logits(fine, coarse)[0, 0], (fine[0, 0] + spread) / 2)
    assert mean_logits(fine, coarse).dtype == np.float32
