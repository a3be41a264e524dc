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
from sam2lite_mobile.evaluation.bench.memory import peak_bytes, resident_bytes
from sam2lite_mobile.evaluation.datasets import DavisLayout, SequenceFrame, read_frame, read_mask
from sam2lite_mobile.evaluation.davis import boundary_measure, region_similarity
from sam2lite_mobile.evaluation.energy import EnergyMeter, open_counters
from sam2lite_mobile.evaluation.flicker import Change, FlickerMeter
from sam2lite_mobile.evaluation.launched import processes_here
from sam2lite_mobile.evaluation.memory_choice import MemoryChoice, choosing_tracker
from sam2lite_mobile.evaluation.pacing import FIXED, Pace
from sam2lite_mobile.evaluation.prompting import PromptKind, prompt_from_mask
from sam2lite_mobile.evaluation.remedies import NO_REMEDY, Remedies
from sam2lite_mobile.evaluation.results import (
    ObjectScores,
    ResidentSample,
    SequenceCost,
    SequenceResult,
    sequence_result,
)
from sam2lite_mobile.evaluation.sequence_picture import SequencePicture
from sam2lite_mobile.media.atomic_file import replace_file
from sam2lite_mobile.media.cell_bits import memory_cell_bits
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


RESIDENT_SAMPLES = 20
"""A looped clip tells the process's memory after its first frame and then this often, evenly apart."""


@dataclass
class _Track:
    """Scores of one object, growing with the frames."""

    first_frame: int
    j: list[float] = field(default_factory=list)
    f: list[float] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    memory_cells: list[dict[int, str]] = field(default_factory=list)

    def scores(self, object_id: int) -> ObjectScores:
        """What the result file holds; what was not measured is None."""
        return ObjectScores(
            object_id,
            self.first_frame,
            self.j,
            self.f,
            flicker=[each.predicted for each in self.changes] or None,
            annotated_flicker=[each.annotated for each in self.changes] or None,
            memory_cells=self.memory_cells or None,
        )


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
    remedies: Remedies = NO_REMEDY,
    max_frames: int | None = None,
    loop_frames: int | None = None,
    flicker: bool = False,
    memory_cells: bool = False,
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
            remedies=remedies,
            max_frames=max_frames,
            loop_frames=loop_frames,
            flicker=flicker,
            memory_cells=memory_cells,
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
    remedies: Remedies = NO_REMEDY,
    max_frames: int | None = None,
    loop_frames: int | None = None,
    flicker: bool = False,
    memory_cells: bool = False,
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
    engine's bank holds. pace: sizes and windows from frame to frame, if not these. remedies: against known
    failures. max_frames: only so many frames are used, as if the sequence ended there. loop_frames: those are gone
    through forth and back until so many frames are tracked, and the process's memory is told on the way. flicker: also
    measure it (`flicker.py`), which takes about as long as tracking does. memory_cells: also keep what the memory held
    after each frame. save_masks: label maps are written to SAVE_MASKS/SEQUENCE/FRAME.png, those of the first time that
    a looped clip shows the frame. pictures: folder for SEQUENCE.jpg (`sequence_picture.py`).
    Raises DataError for a broken data set, ContractError for an option that the contract does not have.
    """
    if max_frames is not None and max_frames < FRAMES_MIN:
        raise ContractError(
            explain("max frames", expected=f"{FRAMES_MIN} or more", got=max_frames, do="evaluate a longer piece")
        )
    clip = layout.frames(sequence)[:max_frames]
    if len(clip) < FRAMES_MIN:
        raise DataError(
            explain(sequence, expected=f"{FRAMES_MIN} frames or more", got=len(clip), do="leave the sequence out")
        )
    frames = clip if loop_frames is None else forth_and_back(clip, loop_frames)
    tracker = remedies.around(
        choosing_tracker(
            engine, memory, size=size, window=window, timer=time.perf_counter, min_quality=remedies.min_quality
        )
    )
    step = pace.step_of(tracker)
    tracks: dict[int, _Track] = {}
    sizes: list[int] = []
    latency_ms: dict[str, list[float]] = {}
    picture = None if pictures is None else SequencePicture(len(frames))
    meter = FlickerMeter() if flicker else None
    resident: list[ResidentSample] = []
    spent = EnergyMeter(open_counters() if processes_here() == 1 else None)
    loaded_bytes = resident_bytes()
    sampled = {round(float(place)) for place in np.linspace(0, len(frames) - 1, RESIDENT_SAMPLES + 1)}
    for index, frame in enumerate(frames):
        image, truth = read_frame(frame.image), read_mask(frame.annotation)
        _check_annotation(f"{sequence} frame {frame.name}", truth, image)
        # An object that appears when a clip runs backwards was there before: only the first way forth prompts.
        last_start = min(len(clip), len(frames)) - FRAMES_MIN
        appearing = [new for new in object_ids(truth) if new not in tracks and index <= last_start]
        known = tuple(tracks)
        tracks.update((object_id, _Track(index)) for object_id in appearing)
        predicted = np.zeros(truth.shape, dtype=np.uint8)
        if tracks:
            prompts = {object_id: prompt_from_mask(truth == object_id, prompt) for object_id in appearing}
            spent.start()
            result = step(image, prompts or None)
            spent.stop()
            sizes.append(result.size)
            predicted = exclusive_label_map(result.objects.values(), *truth.shape)
            for stage, value in result.latency_ms.items():
                latency_ms.setdefault(stage, []).append(value)
        for object_id, track in tracks.items():
            track.j.append(region_similarity(truth == object_id, predicted == object_id))
            track.f.append(boundary_measure(truth == object_id, predicted == object_id))
            if memory_cells:
                not_tracked = index - result.frame_index  # frames before the tracker's first one
                held = tracker.memory_cells(object_id).items()
                track.memory_cells.append(memory_cell_bits({at + not_tracked: cells for at, cells in held}))
        if meter is not None:
            for object_id, change in meter.step(image, truth, predicted, known).items():
                tracks[object_id].changes.append(change)
        if on_labels is not None:
            on_labels(predicted)
        if save_masks is not None and index < len(clip):
            folder = save_masks / sequence
            folder.mkdir(parents=True, exist_ok=True)
            write_label_map(folder / f"{frame.name}.png", predicted)
        if picture is not None:
            mean_j = float(np.mean([track.j[-1] for track in tracks.values()])) if tracks else None
            picture.add(index, frame.name, image, truth, predicted, mean_j)
        if loop_frames is not None and index in sampled:
            resident.append(ResidentSample(index, resident_bytes()))
        if on_frame is not None:
            on_frame(sequence, index + 1, len(frames))
    if not tracks:
        raise DataError(explain(sequence, expected="an annotated object", got="none", do="leave the sequence out"))
    if picture is not None and pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        replace_file(pictures / f"{sequence}.jpg", picture.jpeg())
    return sequence_result(
        sequence,
        [track.scores(object_id) for object_id, track in tracks.items()],
        shape=(truth.shape[0], truth.shape[1]),
        latency_ms=latency_ms,
        frame_names=[frame.name for frame in frames],
        resident=resident or None,
        sizes=sizes,
        cost=SequenceCost(len(sizes), spent.processor_s, spent.counter_j, loaded_bytes, peak_bytes()),
    )


def forth_and_back(clip: Sequence[SequenceFrame], frames: int) -> tuple[SequenceFrame, ...]:
    """`frames` frames of the endless clip 0, 1, ..., n - 1, n - 2, ..., 1, 0, 1, ...: no cut anywhere.

    Raises ContractError for fewer frames than the evaluation needs.
    """
    if frames < FRAMES_MIN:
        raise ContractError(explain("looped frames", expected=f"{FRAMES_MIN} or more", got=frames, do="ask for more"))
    last = len(clip) - 1
    places = (index % (2 * last) for index in range(frames))
    return tuple(clip[min(place, 2 * last - place)] for place in places)


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
