"""Scores of a student in training on sequences that it is not trained on: for choosing between checkpoints."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam2lite_mobile import contract
from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.evaluation.davis import boundary_measure, region_similarity
from sam2lite_mobile.evaluation.evaluate import BY_GATE
from sam2lite_mobile.evaluation.memory_choice import MemoryChoice, choosing_tracker
from sam2lite_mobile.runtime.engine import Engine
from sam2lite_mobile.runtime.prompts import Prompt
from sam2lite_mobile.runtime.tracker import MAX_OBJECTS
from sam2lite_mobile.student.student import Student
from sam2lite_mobile.training.sources import Sequence, find_sequence, read_pair

VALIDATION_SIZE = 256
VALIDATION_FRAMES = 20
"""Frames of a sequence that are tracked, evenly spread from the first to the last."""


@dataclass(frozen=True)
class HeldOutScore:
    """J (intersection over union) and F (boundary measure), 0..1: means over the sequences; J of each by name."""

    mean_j: float
    mean_f: float
    by_sequence: dict[str, float]

    @property
    def jf(self) -> float:
        """J&F: the mean of J and F."""
        return (self.mean_j + self.mean_f) / 2


def held_out_score(
    student: Student,
    data_root: Path,
    names: Items[str],
    *,
    size: int = VALIDATION_SIZE,
    frames: int = VALIDATION_FRAMES,
    memory: MemoryChoice = BY_GATE,
) -> HeldOutScore:
    """J and F of a student in eval mode over the training sequences `names`, through the tracker itself.

    Every object of a sequence's first frame is given there as a mask and tracked through at most `frames` frames. A
    sequence's J is the mean over its objects and all frames but the first, at the size of the annotation.
    memory: what the tracker remembers. Raises DataError for an unknown sequence or one whose first frame shows no
    object.
    """
    engine = TorchEngine(student)
    scores = {
        name: sequence_score(engine, find_sequence(data_root, name), size=size, frames=frames, memory=memory)
        for name in names
    }
    means = np.mean(list(scores.values()), 0)
    return HeldOutScore(float(means[0]), float(means[1]), {name: j for name, (j, _) in scores.items()})


def sequence_score(
    engine: Engine, sequence: Sequence, *, size: int, frames: int, memory: MemoryChoice = BY_GATE
) -> tuple[float, float]:
    """J and F of one sequence, see `held_out_score`."""
    tracker = choosing_tracker(engine, memory, size=size, window=contract.WINDOW_MAX)
    objects: list[int] = []
    values: list[tuple[float, float]] = []
    for position, index in enumerate(spread(len(sequence.frames), frames)):
        pixels, labels = read_pair(sequence.frames[index], sequence.masks[index])
        if position == 0:
            objects = [int(label) for label in np.unique(labels) if label > 0][:MAX_OBJECTS]
            if not objects:
                raise DataError(
                    explain(
                        f"held-out sequence {sequence.name}",
                        expected="an object in its first frame",
                        got="an empty mask",
                        do="hold out another sequence",
                    )
                )
            tracker.step(pixels, prompts={label: Prompt.from_mask(labels == label) for label in objects})
            continue
        result = tracker.step(pixels)
        for label in objects:
            truth, mask = labels == label, result.objects[label].mask
            values.append((region_similarity(truth, mask), boundary_measure(truth, mask)))
    j, f = np.mean(values, 0)
    return float(j), float(f)


def spread(count: int, at_most: int) -> list[int]:
    """Indices of at most `at_most` >= 2 of `count` >= 2 frames, evenly spread, the first and the last among them."""
    return [int(index) for index in np.linspace(0, count - 1, min(count, at_most)).round()]
