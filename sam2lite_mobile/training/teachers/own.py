"""A student of ours as teacher: the same graphs, with a memory that forgets nothing.

The tracker keeps at most 512 tokens of at most eight frames back. Here the first frame's tokens stay as anchors and
every later frame that shows the object leaves its 256 tokens as recent ones, without budget, window or gate.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2lite_mobile import contract
from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.runtime.masks import MASK_LOGIT
from sam2lite_mobile.runtime.tracker import VISIBILITY_LOGIT
from sam2lite_mobile.student.checkpoint import checkpoint_hash, load_student
from sam2lite_mobile.student.mask_decoder import DecoderTrace
from sam2lite_mobile.student.student import Student
from sam2lite_mobile.training.alignment import MEMORY_GRID, TokenSpan
from sam2lite_mobile.training.teachers.clip_input import check_clip, object_mask
from sam2lite_mobile.training.teachers.device import on_device
from sam2lite_mobile.training.teachers.teacher import TeacherFrame

VERSION = 1
"""Raised when the same weights give other answers: part of the fingerprint."""
READ_SHARE = 0.5
"""Share of a query's attention that each of the two reads gives.

The student reads anchors and recent tokens under a softmax each, and its decoder adds both readouts with no weight
between them: no other share has a better reason. A loss that compares inside a group of tokens (`lessons.py`) does not
see the share in its targets, only as the weight of a query there: both reads then count alike, and what their null
tokens took counts for neither. Shares that varied from query to query would weigh one read against the other.
While memory holds anchors alone, the whole half of the recent read lies on its null token, and a query's kept share is
at most a half, as it is for anchors later.
"""
NULL_TOKENS = 1
"""The null tokens of both reads, as one token without a place: the last of a frame's attention."""


class Memory:
    """Tokens of one clip, oldest first: keys and values (1, n, 256) and the frame that left each 256 of them."""

    def __init__(self) -> None:
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self.frames: list[int] = []

    def write(self, frame: int, keys: Tensor, values: Tensor) -> None:
        """Remember a frame for good."""
        self._keys.append(keys)
        self._values.append(values)
        self.frames.append(frame)

    def decoder_inputs(self, frame: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What the mask decoder reads at `frame`: keys, values, age, mask and anchor flags, as in the contract."""
        keys, values = torch.cat(self._keys, 1), torch.cat(self._values, 1)
        written = torch.tensor(self.frames, device=keys.device).repeat_interleave(contract.TOKENS_PER_FRAME)[None]
        age = (frame - written).clamp(max=contract.AGE_FRAMES).float() / contract.AGE_FRAMES
        return keys, values, age, torch.zeros_like(age), (written == 0).float()

    def spans(self) -> tuple[TokenSpan, ...]:
        """Where the tokens lie, and the null tokens behind them."""
        placed = (TokenSpan.of_grid(frame, MEMORY_GRID) for frame in self.frames)
        return (*placed, TokenSpan.without_place(NULL_TOKENS))


class OwnTeacher:
    """A frozen student, in float32, as `Teacher`; it tracks clips of any input size of the contract.

    student: used as it is and frozen; move it to a device before. weights_hash: of its checkpoint, hexadecimal.
    """

    def __init__(self, student: Student, *, weights_hash: str) -> None:
        self._student = student.eval().float().requires_grad_(False)
        self._fingerprint = hashlib.sha256(f"own teacher {VERSION} {weights_hash}".encode()).hexdigest()

    @classmethod
    def from_checkpoint(cls, path: Path, *, device: torch.device | str = "cpu") -> OwnTeacher:
        """The student of a checkpoint. Raises CheckpointError as `load_student` does."""
        return cls(load_student(path).to(device), weights_hash=checkpoint_hash(path))

    @property
    def fingerprint(self) -> str:
        """Hash (hexadecimal) of the checkpoint and of the way it is used."""
        return self._fingerprint

    @property
    def readout_width(self) -> int:
        """512: the readouts of both reads, anchors first."""
        return 2 * contract.CHANNELS

    def track(self, frames: Tensor, first_mask: Tensor) -> list[TeacherFrame]:
        """Frames 1 to T - 1 of a clip, tracked from the mask of frame 0.

        frames: uint8 (T, R, R, 3) RGB, R a size of the contract. first_mask: uint8 (R, R), object > 127. A result has
        mask logits (R/4, R/4), attention (g^2, 256 n + 1) on the query grid (g, g), g = R / 16, over the n frames in
        memory and the null tokens, and a readout (g^2, 512). By the tracker's rule a frame is remembered if the object
        is in view: visibility and some mask logit above 0. Raises ContractError for other shapes.
        """
        check_clip(frames, first_mask)
        side = frames.shape[1]
        if side not in contract.SIZES:
            raise ContractError(
                explain("clip for a teacher", expected=f"a size of {contract.SIZES}", got=side, do="resize the clip")
            )
        device = next(self._student.parameters()).device
        memory, tracked = Memory(), []
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            no_prompt = self._student.prompt_encoder(*_empty_prompt(device))
            for t, frame in enumerate(frames):
                image = frame.to(device).permute(2, 0, 1)[None].float()
                maps = self._student.image_encoder(image)
                if t == 0:
                    logits, visible = _given_logits(first_mask.to(device)), True
                else:
                    inputs = (*maps, *memory.decoder_inputs(t), *no_prompt)
                    logits, _, visibility, trace = self._student.mask_decoder.trace(*inputs)
                    tracked.append(on_device(_as_frame(logits, trace, memory.spans()), frames.device))
                    visible = bool(visibility > VISIBILITY_LOGIT) and bool((logits > MASK_LOGIT).any())
                if visible:
                    keys, values, _ = self._student.memory_encoder(maps[0], logits)
                    memory.write(t, keys, values)
        return tracked


def _mixed_reads(trace: DecoderTrace) -> Tensor:
    """Attention (batch, queries, tokens + 1): READ_SHARE of each read, both null tokens together as the last.

    Rows sum to 1. Each read has mass on its own kind of token and on its null token alone, so a sum loses nothing.
    """
    return READ_SHARE * trace.anchors.attention + (1 - READ_SHARE) * trace.recent.attention


def _as_frame(logits: Tensor, trace: DecoderTrace, spans: tuple[TokenSpan, ...]) -> TeacherFrame:
    readout = torch.cat([trace.anchors.readout, trace.recent.readout], -1)[0]
    side = logits.shape[-1] * contract.MASK_STRIDE // contract.STRIDE
    return TeacherFrame(logits[0, 0], _mixed_reads(trace)[0], spans, (side, side), readout)


def _given_logits(first_mask: Tensor) -> Tensor:
    """The mask as the logits (1, 1, R/4, R/4) of a mask prompt (`runtime/prompts.py`)."""
    share = F.avg_pool2d(object_mask(first_mask), contract.MASK_STRIDE)
    return (2 * share - 1) * contract.MASK_PROMPT_LOGIT


def _empty_prompt(device: torch.device) -> tuple[Tensor, Tensor]:
    points = torch.zeros(1, contract.PROMPT_SLOTS, 2, device=device)
    return points, torch.full(points.shape[:2], float(contract.LABEL_EMPTY), device=device)
