"""Whole sequences tracked by PyTorch and by a converted package: how far the masks agree, what J&F is lost."""

from __future__ import annotations

import hashlib
import math
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.gates import engine_in_words, mask_iou, median_frame_gate, worst_frame_gate
from converters.limits import accuracy_limit
from converters.options import BuildOptions
from converters.registry import open_target
from converters.target import Target
from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.evaluation.bootstrap import paired_interval
from sam2lite_mobile.evaluation.datasets import DavisLayout, data_root, sample_clip
from sam2lite_mobile.evaluation.davis import RECALL_THRESHOLD
from sam2lite_mobile.evaluation.evaluate import evaluate_sequence
from sam2lite_mobile.evaluation.results import SequenceResult, summarize
from sam2lite_mobile.package.manifest import GateResult
from sam2lite_mobile.runtime.engine import EngineDescription


@dataclass(frozen=True)
class AccuracySet:
    """Sequences in DAVIS layout: root, a name for people, and the sequences' names."""

    root: Path
    name: str
    sequences: tuple[str, ...]


@dataclass(frozen=True)
class SequencePair:
    """One sequence tracked by both engines from the first frame's mask.

    agreement: IoU of the engines' masks (objects joined) in every frame after the first, each with its own memory.
    Frames that PyTorch tracks badly itself are left out of its gates (`tracked_frames`).
    """

    reference: SequenceResult
    candidate: SequenceResult
    engine: EngineDescription
    agreement: tuple[float, ...]


@dataclass(frozen=True)
class SequenceTask:
    """What a process needs to track one sequence with both engines."""

    target: str
    checkpoint: Path
    models: Path
    root: Path
    sequence: str
    size: int
    bank_tokens: int
    max_frames: int | None


def accuracy_set() -> AccuracySet:
    """The dev split where the data is at hand, else the sample clip."""
    data = data_root()
    if data is not None and (data / "davis" / "splits" / "dev.txt").is_file():
        layout = DavisLayout(data / "davis")
        return AccuracySet(layout.root, "DAVIS dev", layout.split("dev"))
    clip = sample_clip()
    return AccuracySet(clip.root, "sample clip", clip.sequence_names())


def accuracy_digest(measured: AccuracySet) -> str:
    """SHA-256 over the names and bytes of all frames and annotations of a set."""
    digest = hashlib.sha256(measured.name.encode())
    layout = DavisLayout(measured.root)
    for sequence in measured.sequences:
        for frame in layout.frames(sequence):
            for path in (frame.image, frame.annotation):
                digest.update(f"{sequence}/{path.name}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def measure_accuracy(
    chosen: Target,
    options: BuildOptions,
    models: Path,
    measured: AccuracySet,
    *,
    on_sequence: Callable[[SequencePair], None],
) -> list[GateResult]:
    """Agreement on each sequence, and J&F lost on the whole set, at the largest size of a build.

    `on_sequence` hears of each sequence as it is done.
    """
    tasks = [
        SequenceTask(
            target=chosen.name,
            checkpoint=options.checkpoint,
            models=models,
            root=measured.root,
            sequence=sequence,
            size=options.sizes[-1],
            bank_tokens=options.bank_tokens,
            max_frames=options.accuracy_frames,
        )
        for sequence in measured.sequences
    ]
    pairs: dict[str, SequencePair] = {}
    with ProcessPoolExecutor(options.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(track_with_both, task): task.sequence for task in tasks}
        try:
            for future in as_completed(futures):
                pairs[futures[future]] = future.result()
                on_sequence(pairs[futures[future]])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    ordered = [pairs[sequence] for sequence in measured.sequences]
    size, recipe = options.sizes[-1], options.recipe
    agreement = agreement_gates(ordered, name=measured.name, size=size, precision=recipe)
    return [*agreement, accuracy_gate(ordered, name=measured.name, size=size, precision=recipe)]


def track_with_both(task: SequenceTask) -> SequencePair:
    """Track one sequence with PyTorch and with the converted models, one thread each, each with its own memory."""
    reference = TorchEngine.from_checkpoint(task.checkpoint, bank_tokens=task.bank_tokens, threads=1)
    candidate = open_target(task.target).engine(task.models)
    layout = DavisLayout(task.root)
    results, masks = [], []
    for engine in (reference, candidate):
        seen: list[NDArray[np.bool_]] = []
        results.append(
            evaluate_sequence(
                engine,
                layout,
                task.sequence,
                size=task.size,
                max_frames=task.max_frames,
                on_labels=lambda labels, seen=seen: seen.append(labels > 0),  # type: ignore[misc]
            )
        )
        masks.append(seen[1:])
    agreement = tuple(mask_iou(before, after) for before, after in zip(*masks, strict=True))
    return SequencePair(results[0], results[1], candidate.describe(), agreement)


def tracked_frames(pair: SequencePair) -> list[float]:
    """Agreement in the frames that DAVIS counts as recalled by PyTorch (J above 0.5); in all frames where none is.

    Where PyTorch has lost the object, what both masks hold is chance, and says nothing about a conversion. Several
    objects count by the mean of their J.
    """
    frames = pair.reference.frames
    rows = [np.r_[np.full(frames - len(scores.j), np.nan), scores.j] for scores in pair.reference.objects]
    own = np.nanmean(np.stack(rows)[:, 1:], axis=0)
    kept = [value for value, j in zip(pair.agreement, own, strict=True) if j > RECALL_THRESHOLD]
    return kept or list(pair.agreement)


def agreement_gates(pairs: list[SequencePair], *, name: str, size: int, precision: str) -> list[GateResult]:
    """The worst tracked frame of each sequence, and the median one of all."""
    engine = engine_in_words(pairs[0].engine)
    results, every = [], []
    for pair in pairs:
        kept = tracked_frames(pair)
        every += kept
        sequence = pair.reference.name
        clip = f"{sequence}, {_counted(kept, pair.agreement)}, mask prompt"
        results.append(
            worst_frame_gate(kept, sequence=sequence, clip=clip, size=size, precision=precision, engine=engine)
        )
    frames = [value for pair in pairs for value in pair.agreement]
    clip = f"{name}, {len(pairs)} sequences, {_counted(every, frames)}, mask prompt"
    return [*results, median_frame_gate(every, clip=clip, size=size, precision=precision, engine=engine)]


def _counted(kept: Sequence[float], frames: Sequence[float]) -> str:
    return f"{len(kept)} tracked of {len(frames)} frames"


def accuracy_gate(pairs: list[SequencePair], *, name: str, size: int, precision: str) -> GateResult:
    """J&F points that the candidate loses on average over all objects; below zero where it gains."""
    before = 100 * summarize([pair.reference for pair in pairs]).jf_mean
    after = 100 * summarize([pair.candidate for pair in pairs]).jf_mean
    frames = sum(pair.reference.frames for pair in pairs)
    change = paired_interval([pair.reference for pair in pairs], [pair.candidate for pair in pairs])
    scores = f"J&F {before:.2f} in torch, {after:.2f} here, {change}"
    limit = accuracy_limit(precision)
    lost = round(before - after, 6)
    if not math.isfinite(lost):
        raise ValueError(f"J&F lost: expected a finite value, got {lost}")
    return GateResult(
        kind="clip",
        graph=None,
        tensor=None,
        clip=f"{name}, {len(pairs)} sequences, {frames} frames, mask prompt: {scores}",
        size=size,
        measure=limit.measure,
        measured=lost,
        bound=limit.bound,
        limit=limit.value,
        passed=limit.holds(lost),
        precision=precision,
        engine=engine_in_words(pairs[0].engine),
    )
