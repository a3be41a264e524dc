"""Recipes: everything that decides a training run, as validated plain data (TOML)."""

from __future__ import annotations

import hashlib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec

from sam2lite_mobile import contract
from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.evaluation.selection import Selection
from sam2lite_mobile.student.config import PRESETS
from sam2lite_mobile.training.clip_settings import ClipSettings

LARGEST_RECIPE_BYTES = 64 * 1024


Memory = Literal["pair", "bank"]
"""What clips are tracked with: two frames, or the tracker's bank, pruned after each frame."""


class Phase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a run: how many clips, of how many frames, at which input sizes, and how many of them from videos."""

    clips: int
    frames: int
    sizes: tuple[int, ...] = (256,)
    video_share: float = 0.5
    learning_rate: float | None = None
    """A rate of its own, with a schedule of its own over the phase; None: the recipe's, over the whole run."""
    memory: Memory | None = None
    """None: the recipe's."""
    quantize: Literal["w8", "w8a8"] | None = None
    """Train under this precision recipe's rounding (`quantization/`); None: without any."""
    gap_max: int | None = None
    """Stored video frames between two frames of a clip: 1 to this. None: the clips' own, 4 (`clip_settings.py`)."""
    strong_zoom: float | None = None
    """Share of clips whose scale changes strongly, far to near or near to far. None: the clips' own, 0.2."""

    def clip_settings(self, size_px: int) -> ClipSettings:
        """Settings of the phase's clips at one of its sizes."""
        changed = {name: getattr(self, name) for name in ("gap_max", "strong_zoom") if getattr(self, name) is not None}
        return ClipSettings(size_px=size_px, frames=self.frames, video_share=self.video_share, **changed)


class Distillation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is learned from a teacher beside the annotated masks; weights as in methodology section 1.3."""

    teacher: str
    """As in `teachers/loading.py`: `own:tiny`, `own:FILE`, `sam2:FOLDER`, `edgetam:FOLDER`."""
    attention_weight: float = 0.3
    readout_weight: float = 0.2
    mask_share: float = 0.25
    """Share of the teacher's soft mask in the target of the mask loss; the rest is the annotation."""


LATER_PHASE_FIELDS = ("learning_rate", "memory", "quantize", "gap_max", "strong_zoom")
LATER_FIELDS = {
    "schedule": "cosine",
    "patch_embed": "conv",
    "trains": "all",
    "fresh_gate": False,
    "distillation": None,
    "data": "folder",
    "start_from": None,
    "edge_weight": 0,
    "memory": "pair",
    "selection": Selection.GATE,
    "budget": contract.BANK_TOKENS,
    "temperature_start": 1.0,
    "temperature_end": 0.1,
}
"""Fields that older recipes did not have, and the value that means the same: left out of the hash, so that it stays.

Those of a phase mean the same when they are None.
"""


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One training run. Learning rate: linear warm-up, then the schedule down to `final_share` of it."""

    name: str
    student: str
    phases: tuple[Phase, ...]
    batch_clips: int = 4
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "exponential"] = "cosine"
    """Way from the full rate to its `final_share`, over all steps or those of a phase with a rate of its own."""
    final_share: float = 0.05
    warmup_steps: int = 100
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    average_decay: float = 0.998
    precision: Literal["fp32", "bf16"] = "bf16"
    """bf16: autocast to bfloat16, on processors that compute it; on others it would be many times slower than fp32."""
    patch_embed: Literal["conv", "plain"] = "conv"
    """`plain`: the methodology's 16 x 16 patches in place of the convolutional stem; needs a random start."""
    stem: Literal["imagenet", "random"] = "imagenet"
    data: Literal["folder", "synthetic"] = "folder"
    """`folder`: the training data at hand. `synthetic`: a few drawn videos and stills (`synthetic.py`)."""
    start_from: str | None = None
    """A trained student to start from: a shipped one by name, or a checkpoint file; see `start.py`."""
    edge_weight: float = 0.5
    """Weight of the edge loss beside the mask loss (methodology section 1.3)."""
    distillation: Distillation | None = None
    """None: annotated masks are all that is learned from."""
    memory: Memory = "pair"
    trains: Literal["all", "gate"] = "all"
    """`gate`: the token gate alone; the rest of the student stays as it began."""
    fresh_gate: bool = False
    """With `start_from`: the token gate begins anew, as the simple rule, in place of the trained one's."""
    selection: Selection = Selection.GATE
    """With the bank: what scores its tokens."""
    budget: int = contract.BANK_TOKENS
    """With the bank: tokens that it keeps."""
    temperature_start: float = 1.0
    temperature_end: float = 0.1
    """With the bank and the gate: temperature of the relaxed choice at both ends of the run (methodology, 2.3)."""
    tune_stem_after: float = 0.5
    """Share of the run after which stem blocks 5 to 10 are trained as well; 1 keeps the stem frozen."""
    stem_rate_share: float = 0.1
    seed: int = 0
    hold_out: tuple[str, ...] = ("car-turn", "paragliding", "bmx-bumps", "rhino")
    """Training sequences that are kept for choosing between checkpoints; never trained on."""

    def __post_init__(self) -> None:
        problems = []
        if self.student not in PRESETS:
            problems.append(f"student {self.student!r} is not one of {', '.join(PRESETS)}")
        if not self.phases:
            problems.append("there is no phase")
        for phase in self.phases:
            if phase.clips < 1 or not 2 <= phase.frames <= 64 or not phase.sizes:
                problems.append(f"phase {phase}: clips >= 1, 2 <= frames <= 64 and at least one size are needed")
            if any(size not in contract.SIZES for size in phase.sizes):
                problems.append(f"phase sizes {phase.sizes}: the contract has {contract.SIZES}")
            if not 0 <= phase.video_share <= 1:
                problems.append(f"video_share {phase.video_share} is outside 0..1")
            if phase.learning_rate is not None and not 0 < phase.learning_rate <= 1:
                problems.append(f"learning_rate {phase.learning_rate} of a phase is outside 0..1")
            if phase.gap_max is not None and not 1 <= phase.gap_max <= 64:
                problems.append(f"gap_max {phase.gap_max} is outside 1..64 frames")
            if phase.strong_zoom is not None and not 0 <= phase.strong_zoom <= 1:
                problems.append(f"strong_zoom {phase.strong_zoom} is outside 0..1")
        if self.batch_clips < 1 or not 0 < self.learning_rate <= 1 or not 0 <= self.average_decay < 1:
            problems.append("batch_clips >= 1, 0 < learning_rate <= 1 and 0 <= average_decay < 1 are needed")
        for name in ("final_share", "tune_stem_after", "stem_rate_share"):
            if not 0 <= getattr(self, name) <= 1:
                problems.append(f"{name} {getattr(self, name)} is outside 0..1")
        if self.patch_embed == "plain" and self.stem == "imagenet":
            problems.append("plain patches have no ImageNet weights: set stem to random")
        if self.trains == "gate" and any((phase.memory or self.memory) == "pair" for phase in self.phases):
            problems.append('the gate learns from the bank alone: trains = "gate" needs memory = "bank"')
        if self.fresh_gate and self.start_from is None:
            problems.append("fresh_gate is for runs that start from a trained student")
        if self.schedule == "exponential" and self.final_share == 0:
            problems.append("an exponential schedule never reaches a final_share of 0")
        if not 0 <= self.edge_weight <= 100:
            problems.append(f"edge_weight {self.edge_weight} is outside 0..100")
        if self.distillation is not None:
            if not 0 <= self.distillation.mask_share <= 1:
                problems.append(f"mask_share {self.distillation.mask_share} is outside 0..1")
            for name in ("attention_weight", "readout_weight"):
                if not 0 <= getattr(self.distillation, name) <= 100:
                    problems.append(f"{name} {getattr(self.distillation, name)} is outside 0..100")
        if not contract.BANK_TOKENS_MIN <= self.budget <= contract.BANK_TOKENS_MAX:
            problems.append(
                f"budget {self.budget} is outside {contract.BANK_TOKENS_MIN}..{contract.BANK_TOKENS_MAX} tokens"
            )
        if not 0.01 <= self.temperature_end <= self.temperature_start <= 100:
            problems.append("0.01 <= temperature_end <= temperature_start <= 100 is needed")
        if self.warmup_steps < 0 or not self.weight_decay >= 0 or not self.clip_norm > 0 or self.seed < 0:
            problems.append("warmup_steps >= 0, weight_decay >= 0, clip_norm > 0 and seed >= 0 are needed")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return sum(-(-phase.clips // self.batch_clips) for phase in self.phases)

    def phase_at(self, step: int) -> tuple[int, Phase]:
        """Index and phase that a step (from 0) belongs to; a step after the end belongs to the last one."""
        for index, phase in enumerate(self.phases):
            if step in self.steps_of(index):
                return index, phase
        return len(self.phases) - 1, self.phases[-1]

    def steps_of(self, index: int) -> range:
        """The steps of a phase."""
        counts = [-(-phase.clips // self.batch_clips) for phase in self.phases]
        return range(sum(counts[:index]), sum(counts[: index + 1]))

    def digest(self) -> str:
        """Hash of the recipe's content: a run is only resumed with the recipe that it began with."""
        content: dict[str, Any] = msgspec.to_builtins(self)
        for name, before in LATER_FIELDS.items():
            if content[name] == before:
                del content[name]
        for phase in content["phases"]:
            for name in LATER_PHASE_FIELDS:
                if phase[name] is None:
                    del phase[name]
        return hashlib.sha256(msgspec.json.encode(content)).hexdigest()


def shipped_recipes() -> dict[str, Path]:
    """Recipes that come with the package, by name."""
    folder = Path(str(resources.files("sam2lite_mobile.training"))) / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_recipe(name_or_file: str) -> Recipe:
    """A shipped recipe by name, or one from a TOML file. Raises DataError that names what is wrong."""
    shipped = shipped_recipes()
    path = shipped.get(name_or_file, Path(name_or_file))
    if not path.is_file():
        raise DataError(
            explain("recipe", expected=f"{', '.join(shipped)} or a TOML file", got=name_or_file, do="check the name")
        )
    if path.stat().st_size > LARGEST_RECIPE_BYTES:
        raise DataError(
            explain(f"recipe {path}", expected="at most 64 KB", got=f"{path.stat().st_size} bytes", do="shorten it")
        )
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), Recipe)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError, ValueError) as error:
        raise DataError(
            explain(f"recipe {path}", expected="the fields of a recipe", got=str(error), do="correct the file")
        ) from error
