"""Real inputs for the gates: what the graphs are fed in the middle of a sequence, recorded from the torch engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile import contract
from sam2lite_mobile.engines.wrapper import EngineWrapper
from sam2lite_mobile.evaluation.prompted_clip import PromptedClip
from sam2lite_mobile.evaluation.prompting import tight_box
from sam2lite_mobile.runtime.engine import Engine
from sam2lite_mobile.runtime.prompts import Point, Prompt
from sam2lite_mobile.runtime.tracker import Tracker

Tensors = dict[str, NDArray[np.float32]]
RECORDED_FRAMES = 6
"""Frames before the recorded calls: the bank then holds a whole first frame and tokens of later ones."""


class RecordingEngine(EngineWrapper):
    """An engine that keeps the last inputs of each graph, by graph id, in `calls`."""

    def __init__(self, inner: Engine) -> None:
        super().__init__(inner)
        self.calls: dict[str, Tensors] = {}

    def run(self, graph_id: str, tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """The inner engine's outputs; a copy of the inputs is kept."""
        self.calls[graph_id] = {name: np.array(value, copy=True) for name, value in tensors.items()}
        return super().run(graph_id, tensors)


def record_inputs(engine: Engine, clip: PromptedClip, sizes: Iterable[int]) -> dict[str, Tensors]:
    """Inputs of every graph at every size, by graph id, after a few tracked frames.

    The prompt encoder is recorded with a box and a tap, the decoder with the memory of an ordinary frame.
    """
    recorder = RecordingEngine(engine)
    for size in sizes:
        tracker = Tracker(recorder, size=size)
        tracker.step(clip.frames[0], prompts={1: Prompt.from_mask(clip.mask)})
        for frame in clip.frames[1 : RECORDED_FRAMES + 1]:
            tracker.step(frame)
    ordinary = dict(recorder.calls)
    box = tight_box(clip.mask)
    centre = Point((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
    prompted = Tracker(recorder, size=min(sizes))
    prompted.step(clip.frames[0], prompts={1: Prompt(box=box, points=(centre,))})
    prompt_id = contract.graph_id("prompt_encoder", contract.FULL_SIZE)
    return ordinary | {prompt_id: recorder.calls[prompt_id]}
