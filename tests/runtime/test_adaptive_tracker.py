"""A tracker under the scheduler keeps its object while size and window change."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.runtime.adaptive_tracker import AdaptiveTracker
from sam2lite_mobile.runtime.prompts import Box, Prompt
from sam2lite_mobile.runtime.scheduler import Reason, Scheduler
from sam2lite_mobile.runtime.tracker import Tracker
from tests.runtime.scripted_engine import ScriptedEngine, Tensors, scene

TARGET_MS = 100.0


@dataclass
class ScriptedClock:
    """A timer that moves when the image encoder runs, by what the size and the load cost."""

    load: float = 1.0
    seconds: float = 0.0
    costs: dict[int, float] = field(
        default_factory=lambda: {256: 30.0, 304: 39.0, 352: 50.0, 416: 69.0, 464: 84.0, 512: 100.0}
    )

    def __call__(self) -> float:
        return self.seconds

    def ran(self, graph_id: str) -> None:
        name, _, size = graph_id.rpartition("_")
        if name == "image_encoder":
            self.seconds += self.load * self.costs[int(size)] / 1000


class ClockedEngine(ScriptedEngine):
    def __init__(self, clock: ScriptedClock) -> None:
        super().__init__()
        self.clock = clock

    def run(self, graph_id: str, tensors: Tensors) -> dict[str, np.ndarray]:
        self.clock.ran(graph_id)
        return super().run(graph_id, tensors)


@pytest.fixture
def clock() -> ScriptedClock:
    return ScriptedClock()


def adaptive(clock: ScriptedClock) -> AdaptiveTracker:
    return AdaptiveTracker(Tracker(ClockedEngine(clock), timer=clock), Scheduler(TARGET_MS))


def test_object_is_kept_while_sizes_and_windows_change(clock: ScriptedClock) -> None:
    tracker = adaptive(clock)
    sizes, windows = [], []
    for index in range(60):
        clock.load = 2.5 if 10 <= index < 30 else 0.9
        x = 8 + index // 2
        frame = scene({90: (x, 20, x + 20, 44)})
        prompts = {1: Prompt.from_box(Box(8, 20, 28, 44))} if index == 0 else None
        result = tracker.step(frame, time_ms=clock.seconds * 1000, prompts=prompts)
        found, shown = result.objects[1].mask, frame[..., 0] == 90
        assert (found & shown).sum() / (found | shown).sum() > 0.8, index
        sizes.append(result.size)
        windows.append(result.window)
    assert sizes[:10] == [512] * 10
    assert min(sizes[10:30]) == 304  # 2.5 x 39 ms
    assert sizes[-1] == 512
    assert {(size, window) for size, window in zip(sizes, windows, strict=True)} >= {(512, 8), (304, 3)}


def test_prompted_frame_is_full_size_and_does_not_count(clock: ScriptedClock) -> None:
    tracker = adaptive(clock)
    frame = scene({90: (8, 20, 28, 44)})
    box = {1: Prompt.from_box(Box(8, 20, 28, 44))}
    clock.load = 3.0
    tracker.step(frame, time_ms=0.0, prompts=box)
    assert tracker.decision.reason is Reason.NOT_COUNTED
    for _ in range(20):
        small = tracker.step(frame, time_ms=clock.seconds * 1000)
    assert small.size == 256
    corrected = tracker.step(frame, time_ms=clock.seconds * 1000, prompts=box)
    assert (corrected.size, corrected.window) == (512, 8)
    assert tracker.step(frame, time_ms=clock.seconds * 1000).size == 256


def test_frames_without_an_object_do_not_count(clock: ScriptedClock) -> None:
    scheduler = Scheduler(TARGET_MS)
    tracker = AdaptiveTracker(Tracker(ClockedEngine(clock), timer=clock), scheduler)
    for _ in range(5):
        tracker.step(scene({90: (8, 20, 28, 44)}), time_ms=clock.seconds * 1000)
    assert scheduler.state.frames == 0


def test_refused_frame_is_not_measured(clock: ScriptedClock) -> None:
    scheduler = Scheduler(TARGET_MS)
    tracker = AdaptiveTracker(Tracker(ClockedEngine(clock), timer=clock), scheduler)
    before = scheduler.state
    with pytest.raises(ContractError):
        tracker.step(np.zeros((4, 4), np.uint8), time_ms=0.0)
    assert scheduler.state == before
