"""The evaluation loop: track annotated sequences from a prompt in the first frame, and score every frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.contract import FULL_SIZE, WINDOW_MAX
from sam2lite_mobile.errors import ContractError, DataError, explain
from sam2lite_mobile.evaluation.datasets import DavisLayout, read_frame, read_mask
from sam2lite_mobile.evaluation.davis import boundary_measure, region_similarity
from sam2lite_mobile.evaluation.memory_choice import MemoryChoice, choosing_tracker
from sam2lite_mobile.evaluation.pacing import FIXED, Pace
from sam2lite_mobile.evaluation.prompting import PromptKind, prompt_from_mask
from sam2lite_mobile.evaluation.results import ObjectScores, SequenceResult, sequence_result
from sam2lite_mobile.evaluation.sequence_picture import SequencePicture
from sam2lite_mobile.media.atomic_file import replace_file
from sam2lite_mobile.media.label_maps import exclusive_label_map, object_ids, write_label_map
from sam2lite_mobile.runtime.engine import Engine

FRAMES_MIN = 3
"""The first frame is given and the last is left out, so fewer frames leave nothing to evaluate."""

BY_GATE = MemoryChoice()
"""The memory that ships: a bank by the student's gate."""

FrameObserver = Callable[[str, int, int], None]
"""Called with sequence, frames done and frames in all, after every frame."""

LabelObserver = Callable[[NDArray[np.uint8]], None]
"""Called with the predicted label map (H, W) of every frame, object ids, zero for background."""


@dataclass
class _Track:
    """Scores of one object, growing with the frames."""

    first_frame: int
    j: list[float] = field(default_factory=list)
    f: list[float] = field(default_factory=list)


def evaluate_sequences(
    engine: Engine,
    layout: DavisLayout,
    sequences: Sequence[str],
    *,
    size: int = FULL_SIZE,
    prompt: PromptKind = PromptKind.MASK,
    window: int = WINDOW_MAX,
    memory: MemoryChoice = BY_GATE,
    pace: Pace = FIXED,
    max_frames: int | None = None,
    save_masks: Path | None = None,
    pictures: Path | None = None,
    on_frame: FrameObserver | None = None,
) -> Iterator[SequenceResult]:
    """The result of each sequence, as soon as it is finished. See `evaluate_sequence`."""
    for sequence in sequences:
        yield evaluate_sequence(
            engine,
            layout,
            sequence,
            size=size,
            prompt=prompt,
            window=window,
            memory=memory,
            pace=pace,
            max_frames=max_frames,
            save_masks=save_masks,
            pictures=pictures,
            on_frame=on_frame,
        )


def evaluate_sequence(
    engine: Engine,
    layout: DavisLayout,
    sequence: str,
    *,
    size: int = FULL_SIZE,
    prompt: PromptKind = PromptKind.MASK,
    window: int = WINDOW_MAX,
    memory: MemoryChoice = BY_GATE,
    pace: Pace = FIXED,
    max_frames: int | None = None,
    save_masks: Path | None = None,
    pictures: Path | None = None,
    on_frame: FrameObserver | None = None,
    on_labels: LabelObserver | None = None,
) -> SequenceResult:
    """Scores and times of one sequence.

    Every object is prompted from its annotation in the first frame that shows it, and scored from there on against the
    annotation at full size; where masks of several objects overlap, the higher logit wins. An object that first
    appears in the last two frames has no evaluated frame and is left out.

    size, window: input size R in pixels and memory window in frames. memory: which tokens are kept, of as many as the
    engine's bank holds. pace: sizes and windows from frame to frame, if not these. max_frames: only so many frames are
    used, as if the sequence ended there. save_masks: label maps are written to SAVE_MASKS/SEQUENCE/FRAME.png. pictures:
    folder for SEQUENCE.jpg (`sequence_picture.py`).
    Raises DataError for a broken data set, ContractError for an option that the contract does not have.
    """
    if max_frames is not None and max_frames < FRAMES_MIN:
        raise ContractError(
            explain("max frames", expected=f"{FRAMES_MIN} or more", got=max_frames, do="evaluate a longer piece")
        )
    frames = layout.frames(sequence)[:max_frames]
    if len(frames) < FRAMES_MIN:
        raise DataError(
            explain(sequence, expected=f"{FRAMES_MIN} frames or more", got=len(frames), do="leave the sequence out")
        )
    tracker = choosing_tracker(engine, memory, size=size, window=window, timer=time.perf_counter)
    step = pace.step_of(tracker)
    tracks: dict[int, _Track] = {}
    sizes: list[int] = []
    latency_ms: dict[str, list[float]] = {}
    picture = None if pictures is None else SequencePicture(len(frames))
    for index, frame in enumerate(frames):
        image, truth = read_frame(frame.image), read_mask(frame.annotation)
        _check_annotation(f"{sequence} frame {frame.name}", truth, image)
        appearing = [new for new in object_ids(truth) if new not in tracks and index <= len(frames) - FRAMES_MIN]
        tracks.update((object_id, _Track(index)) for object_id in appearing)
        predicted = np.zeros(truth.shape, dtype=np.uint8)
        if tracks:
            prompts = {object_id: prompt_from_mask(truth == object_id, prompt) for object_id in appearing}
            result = step(image, prompts or None)
            sizes.append(result.size)
            predicted = exclusive_label_map(result.objects.values(), *truth.shape)
            for stage, value in result.latency_ms.items():
                latency_ms.setdefault(stage, []).append(value)
        for object_id, track in tracks.items():
            track.j.append(region_similarity(truth == object_id, predicted == object_id))
            track.f.append(boundary_measure(truth == object_id, predicted == object_id))
        if on_labels is not None:
            on_labels(predicted)
        if save_masks is not None:
            folder = save_masks / sequence
            folder.mkdir(parents=True, exist_ok=True)
            write_label_map(folder / f"{frame.name}.png", predicted)
        if picture is not None:
            mean_j = float(np.mean([track.j[-1] for track in tracks.values()])) if tracks else None
            picture.add(index, frame.name, image, truth, predicted, mean_j)
        if on_frame is not None:
            on_frame(sequence, index + 1, len(frames))
    if not tracks:
        raise DataError(explain(sequence, expected="an annotated object", got="none", do="leave the sequence out"))
    if picture is not None and pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        replace_file(pictures / f"{sequence}.jpg", picture.jpeg())
    objects = [ObjectScores(object_id, each.first_frame, each.j, each.f) for object_id, each in tracks.items()]
    shape = (truth.shape[0], truth.shape[1])
    return sequence_result(sequence, objects, shape=shape, latency_ms=latency_ms, sizes=sizes)


def _check_annotation(where: str, truth: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
    if truth.shape != image.shape[:2]:
        raise DataError(
            explain(
                where,
                expected=f"an annotation of {image.shape[:2]}",
                got=truth.shape,
                do="keep frames and annotations at one size",
            )
        )
