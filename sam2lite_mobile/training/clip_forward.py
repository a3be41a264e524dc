"""The student over a batch of clips: the tracker's loop with gradients.

The first frame's mask is given (or asked for by a prompt); every later frame is decoded from memory, and its predicted
mask, soft, becomes memory. Memory is a pair of frames (`pair_memory.py`) or the bounded bank (`bank_memory.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2lite_mobile import contract
from sam2lite_mobile.evaluation.selection import Selection
from sam2lite_mobile.student.mask_decoder import DecoderTrace
from sam2lite_mobile.student.student import Student
from sam2lite_mobile.training import losses
from sam2lite_mobile.training.bank_memory import BankMemory
from sam2lite_mobile.training.clip_memory import Bank
from sam2lite_mobile.training.draws import Draws
from sam2lite_mobile.training.pair_memory import PairMemory
from sam2lite_mobile.training.selection import temperature_at


@dataclass(frozen=True)
class ClipBatch:
    """frames: uint8 (batch, T, R, R, 3) RGB. masks: uint8 (batch, T, R, R), object > 127.

    points (batch, 2, P, 2) and labels (batch, 2, P): a prompt for the first frame, and one for `corrected_frame`.
    These may be some rows of a larger batch: `first_row` of `all_rows`, None where they are all of it.
    """

    frames: Tensor
    masks: Tensor
    points: Tensor
    labels: Tensor
    corrected_frame: int
    first_row: int = 0
    all_rows: int | None = None

    @property
    def count(self) -> int:
        """Clips in it."""
        return int(self.frames.shape[0])

    @property
    def rows(self) -> range:
        """Which rows of the whole batch these are."""
        return range(self.first_row, self.first_row + self.count)

    def pieces(self, clips: int | None) -> Iterator[ClipBatch]:
        """The same rows, at most `clips` at a time; in one piece if None."""
        step = clips or self.count
        for start in range(0, self.count, step):
            cut = slice(start, start + step)
            yield replace(
                self,
                frames=self.frames[cut],
                masks=self.masks[cut],
                points=self.points[cut],
                labels=self.labels[cut],
                first_row=self.first_row + start,
                all_rows=self.all_rows or self.count,
            )

    def to(self, device: torch.device) -> ClipBatch:
        """The same clips in the memory of a device."""
        moved = (x.to(device, non_blocking=True) for x in (self.frames, self.masks, self.points, self.labels))
        frames, masks, points, labels = moved
        return replace(self, frames=frames, masks=masks, points=points, labels=labels)


@dataclass(frozen=True)
class ForwardSettings:
    """What varies from step to step, as shares of all steps.

    prompt_share: the first frame is also decoded from a prompt, with an empty bank. prompted_memory_share: of those,
    the predicted mask is remembered in place of the true one. correction_share: a later frame gets a prompt too.
    Weights of the parts of the loss follow; the mask's is 1. The methodology's for the edge is 0.5 (section 1.3), and
    the budget loss holds its own.

    memory "pair": the first frame's tokens and the last written frame's. prune_share: half of the recent tokens are
    hidden, as the bank's budget does. recent_drop_share: all are. The gate learns from gate_weight's loss alone.
    memory "bank": the tracker's bank of `budget` tokens. `selection` scores them: the gate with Gumbel noise (without
    it where not `explore`), its temperature going from start to end over the run, or a rule, which trains no gate.
    """

    prompt_share: float = 0.5
    prompted_memory_share: float = 0.3
    correction_share: float = 0.15
    prune_share: float = 0.5
    recent_drop_share: float = 0.1
    quality_weight: float = 0.05
    visibility_weight: float = 0.05
    gate_weight: float = 0.02
    edge_weight: float = 0.5
    largest_frame_span: int = 8
    memory: Literal["pair", "bank"] = "pair"
    selection: Selection = Selection.GATE
    budget: int = contract.BANK_TOKENS
    temperature_start: float = 1.0
    temperature_end: float = 0.1
    explore: bool = True


PARTS = ("mask", "edge", "quality", "visibility", "gate", "budget", "prompt")
"""Parts of the loss: `mask` of the tracked frames, `prompt` of a prompted first frame, edge, quality and visibility of
both; `gate` with the pair of frames, `budget` with the bank."""


@dataclass(frozen=True)
class ClipOutcome:
    """loss: scalar with gradients. parts: detached means by name; `last_iou` is the hard IoU of the last frame."""

    loss: Tensor
    parts: dict[str, float]
    predictions: Tensor
    """(batch, T, R/4, R/4) logits, detached; the first frame's are those of the given mask."""


@dataclass(frozen=True)
class Decoded:
    """One frame's outputs of the mask decoder: logits (batch, 1, R/4, R/4), quality and visibility (batch, 1)."""

    logits: Tensor
    quality: Tensor
    visibility: Tensor
    trace: DecoderTrace


@dataclass(frozen=True)
class EncodedClips:
    """What the clips hold, before any memory.

    maps: for each frame, the image encoder's features, detail_8 and detail_4. given: mask logits (batch, 1, R/4, R/4)
    of the first frame's true mask, as a user's mask prompt would give them. truth: true masks at half the input size
    (batch, T, 1, R/2, R/2), 0..1. visible: (batch, T), 1 where the object is in view.
    """

    maps: tuple[tuple[Tensor, Tensor, Tensor], ...]
    given: Tensor
    truth: Tensor
    visible: Tensor


class LossParts:
    """Detached values of each part of the loss, collected over the frames of one call."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {name: [] for name in PARTS}

    def add(self, name: str, value: Tensor) -> None:
        """Keep one value of a part."""
        self._values[name].append(value.detach())

    def means(self) -> dict[str, float]:
        """The mean of each part that occurred."""
        return {name: float(torch.stack(values).mean()) for name, values in self._values.items() if values}


@contextmanager
def float32_inside(*modules: nn.Module) -> Iterator[None]:
    """Within the block, autocast stays outside of these modules: they take and compute float32.

    Cosines times 60 lose the argument of a softmax in bfloat16. The modules are as before when the block ends: a
    `forward` that stayed replaced would be copied into every copy of the student, and run the first one's weights.
    """
    for module in modules:
        module.forward = functools.partial(_call_in_float32, module.forward)
    try:
        yield
    finally:
        for module in modules:
            del module.forward  # the instance's; the class's shows again


def _call_in_float32(forward: Callable[..., object], *tensors: Tensor) -> object:
    with torch.autocast(tensors[0].device.type, enabled=False):
        return forward(*(x.float() for x in tensors))


def by_frame(x: Tensor, frames: int) -> tuple[Tensor, ...]:
    """(batch * T, ...) to T tensors (batch, ...)."""
    return x.view(-1, frames, *x.shape[1:]).unbind(1)


class ClipForward:
    """Runs clips through a student. Construct once per student; call with a batch and a seeded generator.

    The generator decides everything that varies. Its draws come in a fixed order, which is part of what makes a run
    repeatable: change the order and the same seed trains another student.
    """

    def __init__(self, student: Student, settings: ForwardSettings, *, bfloat16: bool) -> None:
        self.student = student
        self.settings = settings
        self.bfloat16 = bfloat16

    def __call__(self, batch: ClipBatch, generator: torch.Generator, *, progress: float = 1.0) -> ClipOutcome:
        """progress: share of the run's steps that are done, 0..1; it sets the temperature of the bank's choices."""
        decoder = self.student.mask_decoder
        exact = [decoder.read_anchors, decoder.read_recent, self.student.memory_encoder]
        if self.settings.memory == "bank":
            exact.append(self.student.token_gate)  # its scores are compared with each other
        with (
            torch.autocast(batch.frames.device.type, torch.bfloat16, enabled=self.bfloat16),
            float32_inside(*exact),
        ):
            return self._run(batch, Draws(generator, batch.rows, batch.all_rows or batch.count), progress)

    def _run(self, batch: ClipBatch, draws: Draws, progress: float) -> ClipOutcome:
        settings = self.settings
        clips = self._encode(batch)
        count, frames = clips.visible.shape
        parts = LossParts()
        no_prompt = self._prompts(batch, None)
        loss, first = self._first_frame(batch, clips, draws, parts)
        given = self.student.memory_encoder(clips.maps[0][0], first)
        span = draws.integer(1, settings.largest_frame_span)
        corrected = batch.corrected_frame if draws.chance(settings.correction_share) else -1
        memory = self._memory(batch, draws, span=span, progress=progress)
        memory.write(0, given, where=torch.ones(count, dtype=torch.bool), anchor=True)
        predictions = [first.detach()[:, 0].float()]
        for t in range(1, frames):
            bank = memory.view(t)
            prompts = self._prompts(batch, 1) if t == corrected else no_prompt
            with memory.reading():
                decoded = self._decode(clips.maps[t], bank, prompts)
            loss = loss + self._supervise(decoded, clips, t, parts, name="mask")
            choosing = memory.choice_loss(decoded.trace)
            parts.add(memory.loss_name, choosing)
            loss = loss + (settings.gate_weight if memory.loss_name == "gate" else 1) * choosing
            predictions.append(decoded.logits.detach()[:, 0].float())
            if t + 1 < frames:
                written = self.student.memory_encoder(clips.maps[t][0], decoded.logits.float())
                memory.write(t, written, where=clips.visible[:, t] > 0, anchor=t == corrected)
        loss = loss / (frames - 1)
        last_iou = losses.hard_iou(at_half_size(predictions[-1][:, None]), clips.truth[:, -1])
        means = parts.means() | {"loss": float(loss.detach()), "last_iou": float(last_iou.mean())}
        return ClipOutcome(loss, means, torch.stack(predictions, 1))

    def _encode(self, batch: ClipBatch) -> EncodedClips:
        """Every frame through the image encoder at once, and the masks at the sizes that the losses need."""
        frames = batch.frames.shape[1]
        # A permuted view is channels-last in memory, which the stem runs a third faster.
        images = batch.frames.flatten(0, 1).permute(0, 3, 1, 2).float()
        features, detail_8, detail_4 = (by_frame(x, frames) for x in self.student.image_encoder(images))
        masks = (batch.masks.float() / 255)[:, :, None]  # (batch, T, 1, R, R)
        given = F.avg_pool2d(masks[:, 0], contract.MASK_STRIDE)
        return EncodedClips(
            maps=tuple(zip(features, detail_8, detail_4, strict=True)),
            given=(2 * given - 1) * contract.MASK_PROMPT_LOGIT,
            truth=torch.stack([F.avg_pool2d(mask, 2) for mask in masks.unbind(1)], 1),
            visible=(masks.amax((2, 3, 4)) > 0.5).float(),
        )

    def _first_frame(
        self, batch: ClipBatch, clips: EncodedClips, draws: Draws, parts: LossParts
    ) -> tuple[Tensor, Tensor]:
        """The loss of a prompted first frame (0 where none is drawn), and the mask logits that are remembered."""
        if not draws.chance(self.settings.prompt_share):
            return torch.zeros(()), clips.given
        bank = Bank.empty(batch.frames.shape[0])
        decoded = self._decode(clips.maps[0], bank, self._prompts(batch, 0))
        loss = self._supervise(decoded, clips, 0, parts, name="prompt")
        if draws.chance(self.settings.prompted_memory_share):
            return loss, decoded.logits.float()
        return loss, clips.given

    def _memory(self, batch: ClipBatch, draws: Draws, *, span: int, progress: float) -> PairMemory | BankMemory:
        """An empty memory for the clips of a batch."""
        settings, student = self.settings, self.student
        if settings.memory == "pair":
            return PairMemory(
                student.token_gate,
                draws,
                span=span,
                prune_share=settings.prune_share,
                drop_share=settings.recent_drop_share,
            )
        return BankMemory(
            student,
            batch.frames,
            draws if settings.explore else None,
            selection=settings.selection,
            budget=settings.budget,
            temperature=temperature_at(progress, start=settings.temperature_start, end=settings.temperature_end),
            span=span,
        )

    def _decode(self, maps: tuple[Tensor, Tensor, Tensor], bank: Bank, prompts: tuple[Tensor, Tensor]) -> Decoded:
        return Decoded(*self.student.mask_decoder.trace(*maps, *bank.decoder_inputs(), *prompts))

    def _supervise(self, decoded: Decoded, clips: EncodedClips, t: int, parts: LossParts, *, name: str) -> Tensor:
        """Mask, edge, quality and visibility losses of frame t; the mask's is kept as `name`."""
        fine, target = at_half_size(decoded.logits.float()), clips.truth[:, t]
        mask = losses.mask_loss(fine, target)
        quality = losses.quality_loss(decoded.quality.float(), fine, target)
        visibility = losses.visibility_loss(decoded.visibility.float(), clips.visible[:, t])
        edge = losses.edge_loss(fine, target)
        parts.add(name, mask)
        parts.add("edge", edge)
        parts.add("quality", quality)
        parts.add("visibility", visibility)
        settings = self.settings
        loss = mask + settings.edge_weight * edge + settings.quality_weight * quality
        return loss + settings.visibility_weight * visibility

    def _prompts(self, batch: ClipBatch, which: int | None) -> tuple[Tensor, Tensor]:
        """Prompt tokens and mask: the batch's first or second prompt, or none."""
        points, labels = batch.points[:, which or 0], batch.labels[:, which or 0]
        if which is None:
            labels = torch.full_like(labels, contract.LABEL_EMPTY)
        tokens, mask = self.student.prompt_encoder(points, labels)
        return tokens, mask


def at_half_size(logits: Tensor) -> Tensor:
    """Mask logits (batch, 1, R/4, R/4) at the size of the losses, (batch, 1, R/2, R/2)."""
    return F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False)
