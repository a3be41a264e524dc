"""What each layer costs when it alone is quantized: a clip tracked with it in integers, beside the same clip in float.

The memory is that of the quantized run: an error that is written into it is read again in later frames, as on a phone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.engines.wrapper import EngineWrapper
from sam2lite_mobile.evaluation.davis import region_similarity
from sam2lite_mobile.evaluation.prompted_clip import PromptedClip
from sam2lite_mobile.quantization.fake_quant import fake_quantized
from sam2lite_mobile.quantization.policy import Policy, precision_policy, quantizable_layers
from sam2lite_mobile.quantization.ranges import observed_ranges
from sam2lite_mobile.quantization.recipe_names import Precision, checked_recipe
from sam2lite_mobile.quantization.rules import Rule
from sam2lite_mobile.runtime.prompts import Prompt
from sam2lite_mobile.runtime.tracker import Tracker
from sam2lite_mobile.student.student import Student

LOGITS = "mask_logits"
HIGHEST_DB = 200.0
"""Stands for an exact match."""


@dataclass(frozen=True)
class LayerCost:
    """One layer in integers, the rest in float32; over all clips, the frames of the prompts left out.

    weights: how many it has. exception: whether the policy of the recipe leaves it in float. mean_iou, worst_iou: of
    its masks with those of float32. logits_db: signal-to-noise ratio of the mask logits, all frames together.
    """

    layer: str
    weights: int
    exception: bool
    mean_iou: float
    worst_iou: float
    logits_db: float


@dataclass(frozen=True)
class TrackedClip:
    """Masks bool (height, width), and mask logits, of every frame after the first."""

    masks: tuple[NDArray[np.bool_], ...]
    logits: tuple[NDArray[np.float32], ...]


class _LogitsKept(EngineWrapper):
    """An engine that keeps the mask logits of every call."""

    def __init__(self, inner: TorchEngine) -> None:
        super().__init__(inner)
        self.logits: list[NDArray[np.float32]] = []

    def run(self, graph_id: str, tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        outputs = super().run(graph_id, tensors)
        if LOGITS in outputs:
            self.logits.append(outputs[LOGITS])
        return outputs


class Sensitivity:
    """Costs of integers in a student over some clips, which are tracked in float32 once, when this is made.

    recipe: `w8` or `w8a8`. size: input size in pixels. Activations have the ranges that they take in these very clips,
    the best case.
    """

    def __init__(self, student: Student, clips: Sequence[PromptedClip], *, recipe: str, size: int) -> None:
        self._precision = checked_recipe(recipe)
        self._policy = precision_policy(recipe)
        self._student = student
        self._layers = quantizable_layers(student)
        self._clips = clips
        self._size = size
        self._engine = TorchEngine(student, threads=1, tuned=False)
        with observed_ranges(student, every_layer(self._precision)) as self._ranges:
            self._exact = self._tracked()

    def of_layers(self, layers: Iterable[str] | None = None) -> Iterator[LayerCost]:
        """The cost of each layer alone, in the student's order; of those named in `layers`, if any are."""
        wanted = self._layers.keys() if layers is None else set(layers)
        for name, layer in self._layers.items():
            if name in wanted:
                exception = self._policy.decide(name).exception
                yield self._cost(name, alone(name, self._precision), layer.weight.numel(), exception=exception)

    def of_policy(self, *, exceptions: bool) -> LayerCost:
        """The cost of all layers together, with the policy's exceptions or without; weights: those in integers."""
        policy = self._policy if exceptions else every_layer(self._precision)
        weights = sum(
            layer.weight.numel() for name, layer in self._layers.items() if policy.decide(name).weight_bits == 8
        )
        return self._cost("the policy" if exceptions else "every layer", policy, weights, exception=False)

    def _tracked(self) -> list[TrackedClip]:
        return [track(self._engine, clip, size=self._size) for clip in self._clips]

    def _cost(self, name: str, policy: Policy, weights: int, *, exception: bool) -> LayerCost:
        with fake_quantized(self._student, policy, ranges=self._ranges):
            rounded = self._tracked()
        ious = [
            region_similarity(a, b)
            for before, after in zip(self._exact, rounded, strict=True)
            for a, b in zip(before.masks, after.masks, strict=True)
        ]
        level = logits_db(self._exact, rounded)
        return LayerCost(name, weights, exception, float(np.mean(ious)), min(ious), level)


def every_layer(precision: Precision) -> Policy:
    """A policy without exceptions."""
    return Policy(precision, (Rule(".*", precision, ""),))


def alone(layer: str, precision: Precision) -> Policy:
    """A policy that quantizes one layer and leaves the rest in float32."""
    return Policy(precision, (Rule(re.escape(layer), precision, ""), Rule(".*", "fp32", "")))


def track(engine: TorchEngine, clip: PromptedClip, *, size: int) -> TrackedClip:
    """A clip tracked from its first mask."""
    kept = _LogitsKept(engine)
    tracker = Tracker(kept, size=size)
    tracker.step(clip.frames[0], prompts={1: Prompt.from_mask(clip.mask)})
    kept.logits.clear()
    masks = tuple(tracker.step(frame).objects[1].mask for frame in clip.frames[1:])
    return TrackedClip(masks, tuple(kept.logits))


def logits_db(exact: Sequence[TrackedClip], rounded: Sequence[TrackedClip]) -> float:
    """10 log10 of the energy of all logits over that of the error; HIGHEST_DB where there is none."""
    signal = noise = 0.0
    for before, after in zip(exact, rounded, strict=True):
        for a, b in zip(before.logits, after.logits, strict=True):
            signal += float(np.square(a, dtype=np.float64).sum())
            noise += float(np.square(a.astype(np.float64) - b).sum())
    return HIGHEST_DB if noise == 0 else min(HIGHEST_DB, 10 * math.log10(signal / noise))
