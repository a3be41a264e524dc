"""The student over a batch of clips: the tracker's loop with gradients.

The first frame's mask is given (or asked for by a prompt); every later frame is decoded from memory, and its predicted
mask, soft, becomes memory. Memory is a pair of frames (`pair_memory.py`) or the bounded bank (`bank_memory.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2lite_mobile import contract
from sam2lite_mobile.quantization.fake_quant import fake_quantized
from sam2lite_mobile.quantization.policy import precision_policy
from sam2lite_mobile.quantization.replaced_forward import replaced_forward
from sam2lite_mobile.student.mask_decoder import DecoderTrace
from sam2lite_mobile.student.student import Student
from sam2lite_mobile.training import losses
from sam2lite_mobile.training.bank_memory import BankMemory
from sam2lite_mobile.training.clip_batch import ClipBatch
from sam2lite_mobile.training.clip_memory import Bank
from sam2lite_mobile.training.distillation import ReadoutProjection
from sam2lite_mobile.training.draws import Draws
from sam2lite_mobile.training.forward_settings import ForwardSettings
from sam2lite_mobile.training.lessons import Lessons, taught_attention, taught_readout
from sam2lite_mobile.training.pair_memory import PairMemory
from sam2lite_mobile.training.selection import temperature_at

PARTS = ("mask", "edge", "attention", "readout", "quality", "visibility", "budget", "prompt")
"""Parts of the loss: `mask` of the tracked frames, `prompt` of a prompted first frame, edge, quality and visibility of
both; attention and readout with a teacher; `budget` with the bank."""


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


def float32_inside(*modules: nn.Module) -> AbstractContextManager[None]:
    """Within the block, autocast stays outside of these modules: they take and compute float32.

    Cosines times 60 lose the argument of a softmax in bfloat16. The modules are as before when the block ends: a
    `forward` that stayed replaced would be copied into every copy of the student, and run the first one's weights.
    """
    return replaced_forward({module: functools.partial(_call_in_float32, module.forward) for module in modules})


def _call_in_float32(forward: Callable[..., object], *tensors: Tensor) -> object:
    with torch.autocast(tensors[0].device.type, enabled=False):
        return forward(*(x.float() for x in tensors))


def depthwise_convolutions(module: nn.Module) -> list[nn.Module]:
    """The convolutions of a module that keep channels apart."""
    return [part for part in module.modules() if isinstance(part, nn.Conv2d) and part.groups > 1]


def by_frame(x: Tensor, frames: int) -> tuple[Tensor, ...]:
    """(batch * T, ...) to T tensors (batch, ...)."""
    return x.view(-1, frames, *x.shape[1:]).unbind(1)


class ClipForward:
    """Runs clips through a student. Construct once per student and phase; call with a batch and a seeded generator.

    projection: of the student's readouts into the teacher's space, where there is a teacher. The generator decides
    everything that varies. Its draws come in a fixed order, which is part of what makes a run repeatable: change the
    order and the same seed trains another student.
    """

    def __init__(
        self,
        student: Student,
        settings: ForwardSettings,
        *,
        bfloat16: bool,
        projection: ReadoutProjection | None = None,
    ) -> None:
        self.student = student
        self.settings = settings
        self.bfloat16 = bfloat16
        self.projection = projection
        self._policy = None if settings.quantize is None else precision_policy(settings.quantize)

    def __call__(
        self,
        batch: ClipBatch,
        generator: torch.Generator,
        *,
        progress: float = 1.0,
        lessons: Lessons | None = None,
    ) -> ClipOutcome:
        """progress: share of the run's steps that are done, 0..1; it sets the temperature of the bank's choices.

        lessons: what a teacher made of the same clips.
        """
        decoder = self.student.mask_decoder
        exact: list[nn.Module] = [decoder.read_anchors, decoder.read_recent, self.student.memory_encoder]
        if batch.frames.device.type == "cpu":
            # Backward, 672 channels of 16 x 16, batch 16, one thread with AMX: 145 ms in bfloat16, 30 ms in float32.
            exact += depthwise_convolutions(self.student)
        if self.settings.memory == "bank":
            exact.append(self.student.token_gate)  # its scores are compared with each other
        with (
            torch.autocast(batch.frames.device.type, torch.bfloat16, enabled=self.bfloat16),
            nullcontext() if self._policy is None else fake_quantized(self.student, self._policy),
            float32_inside(*exact),
        ):
            draws = Draws(generator, batch.rows, batch.all_rows or batch.count, batch.frames.device)
            return self._run(batch, draws, progress, lessons)

    def _run(self, batch: ClipBatch, draws: Draws, progress: float, lessons: Lessons | None) -> ClipOutcome:
        settings = self.settings
        clips = self._encode(batch)
        frames = clips.visible.shape[1]
        always = torch.ones_like(clips.visible[:, 0], dtype=torch.bool)
        parts = LossParts()
        no_prompt = self._prompts(batch, None)
        loss, first = self._first_frame(batch, clips, draws, parts)
        given = self.student.memory_encoder(clips.maps[0][0], first)
        span = draws.integer(1, settings.largest_frame_span)
        corrected = batch.corrected_frame if draws.chance(settings.correction_share) else -1
        memory = self._memory(batch, draws, span=span, progress=progress)
        memory.write(0, given, where=always, anchor=True)
        predictions = [first.detach()[:, 0].float()]
        for t in range(1, frames):
            bank = memory.view(t)
            prompts = self._prompts(batch, 1) if t == corrected else no_prompt
            with memory.reading():
                decoded = self._decode(clips.maps[t], bank, prompts)
            loss = loss + self._supervise(decoded, clips, t, parts, name="mask", lessons=lessons)
            if lessons is not None:
                loss = loss + self._distil(decoded, bank, lessons, t, parts)
            if isinstance(memory, BankMemory):
                budget = memory.budget_loss()
                parts.add("budget", budget)
                loss = loss + budget
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
            return clips.given.new_zeros(()), clips.given
        bank = Bank.empty(batch.count, device=batch.frames.device)
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

    def _supervise(
        self,
        decoded: Decoded,
        clips: EncodedClips,
        t: int,
        parts: LossParts,
        *,
        name: str,
        lessons: Lessons | None = None,
    ) -> Tensor:
        """Mask, edge, quality and visibility losses of frame t; the mask's is kept as `name`."""
        fine, target = at_half_size(decoded.logits.float()), clips.truth[:, t]
        share = self.settings.teacher_mask_share
        shown = target
        if lessons is not None and share > 0:
            shown = torch.lerp(target, lessons.masks(t, size=target.shape[-1]), share)
        mask = losses.mask_loss(fine, shown)
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

    def _distil(self, decoded: Decoded, bank: Bank, lessons: Lessons, t: int, parts: LossParts) -> Tensor:
        """Losses of frame t against the teacher's attention and readouts, weighted."""
        settings, frames = self.settings, lessons.at(t)
        loss = bank.age.new_zeros(())
        if settings.attention_weight > 0:
            attention = taught_attention(decoded.trace, bank, frames)
            parts.add("attention", attention)
            loss = loss + settings.attention_weight * attention
        if settings.readout_weight > 0 and self.projection is not None:
            readout = taught_readout(decoded.trace, frames, self.projection)
            parts.add("readout", readout)
            loss = loss + settings.readout_weight * readout
        return loss

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
