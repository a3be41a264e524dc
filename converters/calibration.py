"""Calibration: the ranges of activations over real frames with real memory, in a file beside the checkpoint.

`python -m converters calibrate` writes it from training sequences. A build of a recipe with 8-bit activations reads it,
so that it needs no data. Ranges of another checkpoint are refused.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct

from converters.options import Reporter
from sam2lite_mobile import contract
from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.errors import DataError, MissingBackendError, explain
from sam2lite_mobile.media.atomic_file import replace_file
from sam2lite_mobile.media.json_file import NOT_JSON
from sam2lite_mobile.package.manifest import Calibration
from sam2lite_mobile.quantization.policy import Policy, precision_policy, quantizable_layers
from sam2lite_mobile.quantization.ranges import ActivationRange, LayerRanges, observed_ranges
from sam2lite_mobile.runtime.prompts import Prompt
from sam2lite_mobile.runtime.tracker import Tracker
from sam2lite_mobile.student.checkpoint import checkpoint_hash, load_student
from sam2lite_mobile.student.student import Student

CALIBRATED_RECIPE = "w8a8"
FRAMES_MIN = 128
"""Frames that a calibration has at least."""
CLIP_FRAMES = 8
"""Frames that are tracked on end: the bank fills, and masks are those that the student finds on its own."""
CALIBRATION_BYTES = 2**20
Number = Annotated[float, Meta(ge=-1e9, le=1e9)]


class LayerBounds(Struct, frozen=True, forbid_unknown_fields=True):
    """Lowest and highest value of a layer's input, and of its output."""

    input: tuple[Number, Number]
    output: tuple[Number, Number]


class CalibrationFile(Struct, frozen=True, forbid_unknown_fields=True):
    """Ranges by module name, the checkpoint that they are of, and the frames that they were seen on."""

    checkpoint_sha256: str
    recipe: str
    source: str
    frames: int
    seed: int
    sequences: list[str]
    layers: dict[str, LayerBounds]

    def ranges(self) -> dict[str, LayerRanges]:
        """The ranges as the quantizer takes them."""
        return {
            name: LayerRanges(ActivationRange(*bounds.input), ActivationRange(*bounds.output))
            for name, bounds in self.layers.items()
        }

    def record(self) -> Calibration:
        """The entry of a manifest."""
        return Calibration(source=self.source, frames=self.frames, seed=self.seed)


def calibration_path(checkpoint: Path) -> Path:
    """Where the calibration of a checkpoint lies: `nano.calibration.json` beside `nano.safetensors`."""
    return checkpoint.with_suffix(".calibration.json")


def needs_calibration(recipe: str) -> bool:
    """Whether a recipe has layers with 8-bit activations."""
    return recipe == CALIBRATED_RECIPE


def read_calibration(checkpoint: Path) -> CalibrationFile:
    """The calibration of a checkpoint. Raises DataError where it is missing, broken, short or another checkpoint's."""
    path = calibration_path(checkpoint)
    what = f"calibration {path}"
    do = f"python -m converters calibrate --checkpoint {checkpoint}"
    if not path.is_file() or path.stat().st_size > CALIBRATION_BYTES:
        raise DataError(explain(what, expected="a file of ranges", got="none that can be read", do=do))
    try:
        found = msgspec.json.decode(path.read_bytes(), type=CalibrationFile)
    except NOT_JSON as error:
        raise DataError(explain(what, expected="a file of ranges", got=str(error), do=do)) from error
    if found.checkpoint_sha256 != checkpoint_hash(checkpoint):
        raise DataError(explain(what, expected="ranges of this checkpoint", got="of another one", do=do))
    if found.frames < FRAMES_MIN:
        raise DataError(explain(what, expected=f"{FRAMES_MIN} frames or more", got=found.frames, do=do))
    missing = _calibrated_layers(load_student(checkpoint), precision_policy(found.recipe)) - set(found.layers)
    if missing:
        raise DataError(
            explain(what, expected="every layer in 8 bits", got=f"no {', '.join(sorted(missing)[:4])}", do=do)
        )
    return found


def calibrate(checkpoint: Path, data_root: Path, *, frames: int, seed: int, reporter: Reporter) -> Path:
    """Write the calibration of a checkpoint and return its path.

    frames: at least FRAMES_MIN, in clips of CLIP_FRAMES from training sequences; the seed draws them, and a size for
    each. The first mask is given. Raises DataError for too few frames or none at hand.
    """
    try:
        from sam2lite_mobile.training.sources import find_sequences, read_pair
    except ImportError as error:
        raise MissingBackendError(
            explain("calibration", expected="the training extra", got=str(error), do="pip install '.[train]'")
        ) from error
    if frames < FRAMES_MIN:
        raise DataError(explain("frames", expected=f"{FRAMES_MIN} or more", got=frames, do="use more"))
    policy = precision_policy(CALIBRATED_RECIPE)
    student = load_student(checkpoint)
    engine = TorchEngine(student, threads=1, tuned=False)
    rng = np.random.default_rng(seed)
    sequences = [each for _, group in sorted(find_sequences(data_root).items()) for each in group]
    long = [each for each in sequences if len(each.frames) >= CLIP_FRAMES]
    if not long:
        raise DataError(
            explain(f"{data_root}", expected=f"sequences of {CLIP_FRAMES} frames", got="none", do="name a data folder")
        )
    used, seen = [], 0
    with observed_ranges(student, policy) as ranges:
        while seen < frames:
            sequence = long[int(rng.integers(len(long)))]
            size = int(rng.choice(contract.SIZES))
            start = int(rng.integers(len(sequence.frames) - CLIP_FRAMES + 1))
            image, labels = read_pair(sequence.frames[start], sequence.masks[start])
            if not labels.any():
                continue
            reporter.stage(f"calibrating: {seen} of {frames} frames, {sequence.name} at {size} px")
            tracker = Tracker(engine, size=size)
            tracker.step(image, prompts={1: Prompt.from_mask(labels > 0)})
            for index in range(start + 1, start + CLIP_FRAMES):
                tracker.step(read_pair(sequence.frames[index], sequence.masks[index])[0])
            used.append(f"{sequence.dataset}/{sequence.name}")
            seen += CLIP_FRAMES
    layers = {
        name: LayerBounds((r.input.low, r.input.high), (r.output.low, r.output.high)) for name, r in ranges.items()
    }
    result = CalibrationFile(
        checkpoint_sha256=checkpoint_hash(checkpoint),
        recipe=CALIBRATED_RECIPE,
        source="training sequences, clips of 8 frames, all sizes, mask prompt",
        frames=seen,
        seed=seed,
        sequences=sorted(set(used)),
        layers=dict(sorted(layers.items())),
    )
    path = calibration_path(checkpoint)
    replace_file(path, msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    return path


def calibration_digest(checkpoint: Path) -> str:
    """SHA-256 of a calibration file, for the key of a build."""
    return hashlib.sha256(calibration_path(checkpoint).read_bytes()).hexdigest()


def _calibrated_layers(student: Student, policy: Policy) -> set[str]:
    return {name for name in quantizable_layers(student) if policy.decide(name).activation_bits == 8}
