"""The accuracy gate: what J&F a converted package loses against PyTorch on annotated sequences."""

from __future__ import annotations

import hashlib
import math
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from converters.gates import engine_in_words
from converters.limits import accuracy_limit
from converters.options import BuildOptions
from converters.registry import open_target
from converters.target import Target
from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.evaluation.bootstrap import paired_interval
from sam2lite_mobile.evaluation.datasets import DavisLayout, data_root, sample_clip
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
    """One sequence tracked by both engines from the first frame's mask."""

    reference: SequenceResult
    candidate: SequenceResult
    engine: EngineDescription


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
) -> GateResult:
    """J&F lost on the whole set at the largest size of a build. `on_sequence` hears of each sequence as it is done."""
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
    return accuracy_gate(ordered, name=measured.name, size=options.sizes[-1], precision=options.recipe)


def track_with_both(task: SequenceTask) -> SequencePair:
    """Track one sequence with PyTorch and with the converted models, one thread each, each with its own memory."""
    reference = TorchEngine.from_checkpoint(task.checkpoint, bank_tokens=task.bank_tokens, threads=1)
    candidate = open_target(task.target).engine(task.models)
    layout = DavisLayout(task.root)
    results = [
        evaluate_sequence(engine, layout, task.sequence, size=task.size, max_frames=task.max_frames)
        for engine in (reference, candidate)
    ]
    return SequencePair(results[0], results[1], candidate.describe())


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
