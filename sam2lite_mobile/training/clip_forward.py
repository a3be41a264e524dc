"""The student over a batch of clips: the tracker's loop with gradients.

The first frame's mask is given (or asked for by a prompt); every later frame is decoded from the first frame's tokens
(anchors) and the last written frame's (recent), and the predicted mask, soft, becomes memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2lite_mobile import contract
from sam2lite_mobile.student.mask_decoder import DecoderTrace
from sam2lite_mobile.student.student import Student
from sam2lite_mobile.training import losses


@dataclass(frozen=True)
class ClipBatch:
    """frames: uint8 (batch, T, R, R, 3) RGB. masks: uint8 (batch, T, R, R), object > 127.

    points (batch, 2, P, 2) and labels (batch, 2, P): a prompt for the first frame, and one for `corrected_frame`.
    """

    frames: Tensor
    masks: Tensor
    points: Tensor
    labels: Tensor
    corrected_frame: int


@dataclass(frozen=True)
class ForwardSettings:
    """What varies from step to step, as shares of all steps.

    prompt_share: the first frame is also decoded from a prompt, with an empty bank. prompted_memory_share: of those,
    the predicted mask is remembered in place of the true one. correction_share: a later frame gets a prompt too.
    prune_share: half of the recent tokens are hidden, as the bank's budget does. recent_drop_share: all are.
    """

    prompt_share: float = 0.5
    prompted_memory_share: float = 0.3
    correction_share: float = 0.15
    prune_share: float = 0.5
    recent_drop_share: float = 0.1
    quality_weight: float = 0.05
    visibility_weight: float = 0.05
    gate_weight: float = 0.02
    largest_frame_span: int = 8


@dataclass(frozen=True)
class ClipOutcome:
    """loss: scalar with gradients. parts: detached means by name; `last_iou` is the hard IoU of the last frame."""

    loss: Tensor
    parts: dict[str, float]
    predictions: Tensor
    """(batch, T, R/4, R/4) logits, detached; the first frame's are those of the given mask."""


Tokens = tuple[Tensor, Tensor, Tensor]
"""keys, values (batch, 256, 256) and uncertainty (batch, 256) of one frame."""


@dataclass(frozen=True)
class Bank:
    """What the tracker's memory bank would hold: the first frame's tokens, then the last written frame's."""

    keys: Tensor
    values: Tensor
    age: Tensor
    mask: Tensor
    anchor: Tensor
    uncertainty: Tensor

    @classmethod
    def empty(cls, count: int) -> Bank:
        """One frame of masked slots."""
        tokens = torch.zeros(count, contract.TOKENS_PER_FRAME, contract.CHANNELS)
        flat = torch.zeros(count, contract.TOKENS_PER_FRAME)
        return cls(tokens, tokens, flat, flat + contract.MASKED, flat, flat)

    @classmethod
    def of(cls, anchor: Tokens, recent: Tokens, *, ages: Tensor, hidden: Tensor) -> Bank:
        """ages: (batch, 2) of the two frames. hidden: additive mask (batch, 256) of the recent tokens."""
        keys, values, uncertainty = (torch.cat([a, r], 1) for a, r in zip(anchor, recent, strict=True))
        age = ages.repeat_interleave(contract.TOKENS_PER_FRAME, 1)
        flag = torch.zeros_like(age)
        flag[:, : contract.TOKENS_PER_FRAME] = 1
        return cls(keys, values, age, torch.cat([torch.zeros_like(hidden), hidden], 1), flag, uncertainty)

    def decoder_inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """In the order of the mask decoder's arguments."""
        return self.keys, self.values, self.age, self.mask, self.anchor


def keep_float32(module: nn.Module) -> None:
    """Run a module in float32 inside autocast: cosines times 60 lose the argument of a softmax in bfloat16."""
    inner: Callable[..., object] = module.forward

    def forward(*args: Tensor) -> object:
        with torch.autocast(args[0].device.type, enabled=False):
            return inner(*(x.float() for x in args))

    module.forward = forward


def by_frame(x: Tensor, frames: int) -> tuple[Tensor, ...]:
    """(batch * T, ...) to T tensors (batch, ...)."""
    return x.view(-1, frames, *x.shape[1:]).unbind(1)


class ClipForward:
    """Runs clips through a student. Construct once per student; call with a batch and a seeded generator."""

    def __init__(self, student: Student, settings: ForwardSettings, *, bfloat16: bool) -> None:
        self.student = student
        self.settings = settings
        self.bfloat16 = bfloat16
        decoder = student.mask_decoder
        for module in (decoder.read_anchors, decoder.read_recent, student.memory_encoder):
            keep_float32(module)

    def __call__(self, batch: ClipBatch, generator: torch.Generator) -> ClipOutcome:
        with torch.autocast(batch.frames.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self._run(batch, generator)

    def _run(self, batch: ClipBatch, generator: torch.Generator) -> ClipOutcome:
        settings, student = self.settings, self.student
        count, frames, _size = batch.frames.shape[:3]

        def chance(share: float) -> bool:
            return bool(torch.rand((), generator=generator) < share)

        # A permuted view is channels-last in memory, which the stem runs a third faster.
        images = batch.frames.flatten(0, 1).permute(0, 3, 1, 2).float()
        encoded = student.image_encoder(images)
        features, detail_8, detail_4 = (by_frame(x, frames) for x in encoded)
        maps = list(zip(features, detail_8, detail_4, strict=True))
        truth = (batch.masks.float() / 255)[:, :, None]  # (batch, T, 1, R, R)
        at_2 = torch.stack([F.avg_pool2d(mask, 2) for mask in truth.unbind(1)], 1)
        given = F.avg_pool2d(truth[:, 0], contract.MASK_STRIDE)
        given = (2 * given - 1) * contract.MASK_PROMPT_LOGIT
        visible = (truth.amax((2, 3, 4)) > 0.5).float()  # (batch, T)

        parts: dict[str, list[Tensor]] = {"mask": [], "quality": [], "visibility": [], "gate": [], "prompt": []}
        loss = torch.zeros(())
        no_prompt = self._prompts(batch, None)
        first = given
        if chance(settings.prompt_share):
            empty = Bank.empty(count).decoder_inputs()
            logits, quality, seen, _ = student.mask_decoder.trace(*maps[0], *empty, *self._prompts(batch, 0))
            prompt_loss = self._supervise(logits, quality, seen, at_2[:, 0], visible[:, 0], parts, "prompt")
            loss = loss + prompt_loss
            if chance(settings.prompted_memory_share):
                first = logits.float()
        anchor = student.memory_encoder(maps[0][0], first)
        recent: Tokens = anchor
        recent_frame = torch.zeros(count)
        span = int(torch.randint(1, settings.largest_frame_span + 1, (), generator=generator))
        corrected = batch.corrected_frame if chance(settings.correction_share) else -1
        predictions = [first.detach()[:, 0].float()]
        for t in range(1, frames):
            hidden = torch.zeros(count, contract.TOKENS_PER_FRAME)
            if t == 1 or chance(settings.recent_drop_share):
                hidden += contract.MASKED  # only the first frame is remembered, as anchors
            elif chance(settings.prune_share):
                hidden += (torch.rand(hidden.shape, generator=generator) < 0.5) * contract.MASKED
            ages = torch.stack([torch.full((count,), float(t)), t - recent_frame], 1)
            ages = (ages * (span / contract.AGE_FRAMES)).clamp(max=1)
            bank = Bank.of(anchor, recent, ages=ages, hidden=hidden)
            prompts = self._prompts(batch, 1) if t == corrected else no_prompt
            logits, quality, seen, trace = student.mask_decoder.trace(*maps[t], *bank.decoder_inputs(), *prompts)
            loss = loss + self._supervise(logits, quality, seen, at_2[:, t], visible[:, t], parts, "mask")
            loss = loss + settings.gate_weight * self._gate(bank, hidden, trace, generator, parts)
            predictions.append(logits.detach()[:, 0].float())
            if t + 1 < frames:
                written = student.memory_encoder(maps[t][0], logits.float())
                keep = visible[:, t]
                shaped = [keep.view(-1, *[1] * (new.dim() - 1)) for new in written]
                mixed = [torch.where(k > 0, new, old) for k, new, old in zip(shaped, written, recent, strict=True)]
                recent = (mixed[0], mixed[1], mixed[2])
                recent_frame = torch.where(keep > 0, torch.full_like(recent_frame, float(t)), recent_frame)
        loss = loss / len(parts["mask"])
        last = losses.hard_iou(
            F.interpolate(predictions[-1][:, None], scale_factor=2, mode="bilinear", align_corners=False), at_2[:, -1]
        )
        means = {name: float(torch.stack(values).mean()) for name, values in parts.items() if values}
        means |= {"loss": float(loss.detach()), "last_iou": float(last.mean())}
        return ClipOutcome(loss, means, torch.stack(predictions, 1))

    def _supervise(
        self,
        logits: Tensor,
        quality: Tensor,
        seen: Tensor,
        target: Tensor,
        visible: Tensor,
        parts: dict[str, list[Tensor]],
        name: str,
    ) -> Tensor:
        """Mask, quality and visibility losses of one decoded frame, at half the input size."""
        fine = F.interpolate(logits.float(), scale_factor=2, mode="bilinear", align_corners=False)
        mask = losses.mask_loss(fine, target)
        quality_part = losses.quality_loss(quality.float(), fine, target)
        visibility_part = losses.visibility_loss(seen.float(), visible)
        for key, value in ((name, mask), ("quality", quality_part), ("visibility", visibility_part)):
            parts[key].append(value.detach())
        weights = self.settings
        return mask + weights.quality_weight * quality_part + weights.visibility_weight * visibility_part

    def _gate(
        self,
        bank: Bank,
        hidden: Tensor,
        trace: DecoderTrace,
        generator: torch.Generator,
        parts: dict[str, list[Tensor]],
    ) -> Tensor:
        # Optical flow is not measured in training yet: noise teaches the gate to do without it.
        motion = torch.rand(bank.age.shape, generator=generator)
        scores = self.student.token_gate(
            bank.keys.detach(), bank.values.detach(), bank.age, motion, bank.uncertainty.detach()
        )
        mass = (trace.anchors.attention + trace.recent.attention).sum(1)[:, :-1]
        shown = torch.cat([torch.ones_like(hidden), (hidden == 0).float()], 1)
        value = losses.gate_loss(scores.float(), mass, shown)
        parts["gate"].append(value.detach())
        return value

    def _prompts(self, batch: ClipBatch, which: int | None) -> tuple[Tensor, Tensor]:
        """Prompt tokens and mask: the batch's first or second prompt, or none."""
        points, labels = batch.points[:, which or 0], batch.labels[:, which or 0]
        if which is None:
            labels = torch.full_like(labels, contract.LABEL_EMPTY)
        tokens, mask = self.student.prompt_encoder(points, labels)
        return tokens, mask
