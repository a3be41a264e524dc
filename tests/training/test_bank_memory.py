"""The bank in training keeps what the tracker's bank keeps, and teaches the gate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sam2lite_mobile.engines.torch_engine import TorchEngine, default_checkpoint
from sam2lite_mobile.evaluation.selection import Selection, SelectionEngine
from sam2lite_mobile.runtime.memory_bank import keep_order
from sam2lite_mobile.runtime.prompts import Prompt
from sam2lite_mobile.runtime.tracker import Tracker
from sam2lite_mobile.student.checkpoint import load_student
from sam2lite_mobile.student.memory_attention import MemoryAttention, MemoryRead
from sam2lite_mobile.training.bank_memory import BankMemory
from sam2lite_mobile.training.bounded_memory import BoundedMemory, choose
from sam2lite_mobile.training.clip_batch import ClipBatch
from sam2lite_mobile.training.clip_forward import ClipForward
from sam2lite_mobile.training.forward_settings import ForwardSettings
from sam2lite_mobile.training.kept_read import read_kept
from tests.training.short_runs import moving_square, small_student

FRAMES = 12
CLIP = Path(__file__).resolve().parents[2] / "assets" / "sample_clip"
Kept = set[tuple[int, int]]


def sample_clip() -> ClipBatch:
    pictures = sorted((CLIP / "JPEGImages" / "blackswan").iterdir())[:FRAMES]
    labels = sorted((CLIP / "Annotations" / "blackswan").iterdir())[:FRAMES]
    frames = np.stack([np.asarray(Image.open(path).convert("RGB").resize((256, 256))) for path in pictures])
    nearest = Image.Resampling.NEAREST
    masks = np.stack([np.asarray(Image.open(path).resize((256, 256), nearest)) > 0 for path in labels])
    pixels, truth = torch.from_numpy(frames)[None], torch.from_numpy(masks.astype(np.uint8) * 255)[None]
    return ClipBatch(pixels, truth, torch.zeros(1, 2, 8, 2), -torch.ones(1, 2, 8), 1)


@pytest.mark.parametrize("selection", Selection)
def test_same_tokens_are_kept_as_in_the_tracker_on_a_real_clip(
    selection: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, batch = load_student(default_checkpoint("nano")), sample_clip()
    in_training: list[Kept] = []
    write = BankMemory.write

    def noting(self: BankMemory, *arguments: object, **options: object) -> None:
        write(self, *arguments, **options)  # type: ignore[arg-type]
        held = self.memory.keep[0] > 0
        in_training.append(
            set(zip(self.memory.frame[0][held].tolist(), self.memory.cell[0][held].tolist(), strict=True))
        )

    monkeypatch.setattr(BankMemory, "write", noting)
    settings = ForwardSettings(
        memory="bank", selection=selection, explore=False, prompt_share=0, correction_share=0, largest_frame_span=1
    )
    with torch.no_grad():
        ClipForward(student, settings, bfloat16=False)(batch, torch.Generator())
    plain = TorchEngine(student, tuned=False)
    tracker = Tracker(plain if selection is Selection.GATE else SelectionEngine(plain, selection), size=256)
    for t in range(FRAMES - 1):
        prompt = Prompt.from_mask(batch.masks[0, 0].numpy() > 0)
        tracker.step(batch.frames[0, t].numpy(), prompts={1: prompt} if t == 0 else None)
        bank = tracker._banks[1].contents()
        held = bank.frame >= 0
        assert in_training[t] == set(zip(bank.frame[held].tolist(), bank.cell[held].tolist(), strict=True)), t
    assert len(in_training[-1]) == 384


@pytest.mark.parametrize("seed", range(4))
def test_choice_is_the_runtimes_order_with_ties_redundant_tokens_and_anchors_over_the_quota(seed: int) -> None:
    rng, budget, count, newest = np.random.default_rng(seed), 128, 400, 9
    places = rng.choice(10 * 256, count, replace=False)
    frame, cell = (places // 256).astype(np.int64), (places % 256).astype(np.int64)
    motion, uncertainty = (rng.integers(0, 3, count).astype(np.float32) / 20 for _ in range(2))
    score = rng.integers(0, 4, count).astype(np.float32)
    anchor = rng.random(count) < 0.4
    order = keep_order(
        frame,
        cell,
        motion=motion,
        uncertainty=uncertainty,
        score=score,
        anchor=anchor,
        newest=newest,
        quota=2 * budget // 3,
    )
    fields = [torch.from_numpy(x)[None] for x in (frame, cell, motion, uncertainty, anchor)]
    wide = torch.zeros(1, count, 1)
    memory = BoundedMemory(wide, wide, *fields, keep=torch.ones(1, count))
    kept = choose(memory, torch.from_numpy(score)[None], newest=newest, budget=budget, temperature=1.0)
    assert sorted(order[:budget]) == kept.hard[0].nonzero()[:, 0].tolist()
    assert torch.equal(kept.mask, kept.hard.float())


def test_gate_gets_finite_gradients_from_the_masks_it_lets_the_decoder_see() -> None:
    student = small_student()
    settings = ForwardSettings(memory="bank", prompt_share=0, correction_share=0)
    outcome = ClipForward(student, settings, bfloat16=False)(moving_square(frames=4), torch.Generator().manual_seed(0))
    outcome.loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in student.token_gate.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    assert "budget" in outcome.parts


def test_dropped_token_is_not_read_but_gets_the_gradient_of_being_read() -> None:
    torch.manual_seed(0)
    read = MemoryAttention()
    tokens, keys, values = torch.randn(1, 256, 256), torch.randn(1, 5, 256) * 0.1, torch.randn(1, 5, 256)
    age, mask = torch.zeros(1, 5), torch.zeros(1, 5)
    keep = torch.tensor([[1.0, 0, 1, 0, 1]], requires_grad=True)
    wanted = torch.randn(1, 256, 256)

    def plain(kept: list[float]) -> MemoryRead:
        return read(tokens, keys, values, age, (1 - torch.tensor([kept])) * -1e4)  # type: ignore[no-any-return]

    got = read_kept(read.forward, keep, tokens, keys, values, age, mask)
    assert torch.equal(got.readout, plain([1, 0, 1, 0, 1]).readout)
    (got.readout * wanted).sum().backward()  # type: ignore[no-untyped-call]
    step = plain([1, 1, 1, 0, 1]).readout - plain([1, 0, 1, 0, 1]).readout
    assert keep.grad is not None
    assert keep.grad[0, 1].item() == pytest.approx((step * wanted).sum().item(), rel=1e-3)
