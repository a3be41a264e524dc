"""Differentiable selection and the bounded bank: the runtime's own order, and gradients where the cut is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from sam2lite_mobile import contract
from sam2lite_mobile.evaluation.selection import Selection
from sam2lite_mobile.runtime.memory_bank import anchor_quota, keep_order
from sam2lite_mobile.student.memory_attention import MemoryAttention
from sam2lite_mobile.training.bounded_memory import BoundedMemory, choose
from sam2lite_mobile.training.clip_forward import ClipForward
from sam2lite_mobile.training.draws import Draws
from sam2lite_mobile.training.forward_settings import ForwardSettings
from sam2lite_mobile.training.kept_read import read_kept
from sam2lite_mobile.training.losses import budget_loss
from sam2lite_mobile.training.selection import gumbel_noise, gumbel_top_b, temperature_at
from tests.training.short_runs import moving_square, small_student

pytestmark = pytest.mark.usefixtures("one_thread")


def draws_of(count: int, *, seed: int = 0) -> Draws:
    return Draws(torch.Generator().manual_seed(seed), range(count), count)


def test_the_highest_are_chosen_and_equal_ones_by_lower_index() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0, 2.0, 0.0], [1.0, 1.0, 1.0, 1.0, 1.0]])
    kept = gumbel_top_b(scores, 2, 1.0, None)
    assert kept.hard.tolist() == [[True, False, True, False, False], [True, True, False, False, False]]
    assert torch.equal(kept.mask, kept.hard.float())


@pytest.mark.parametrize("budget", [1, 3, 4, 9])
def test_exactly_the_budget_of_what_may_be_chosen_is_kept_whatever_the_noise(budget: int) -> None:
    allowed = torch.tensor([[True] * 4 + [False] * 2])
    for seed in range(20):
        kept = gumbel_top_b(torch.zeros(1, 6), budget, 0.5, draws_of(1, seed=seed), allowed)
        assert int(kept.hard.sum()) == min(budget, 4)
        assert not kept.hard[0, 4:].any()


def test_gradient_is_that_of_the_relaxed_choice_and_strongest_at_the_cut() -> None:
    scores = torch.tensor([[5.0, 1.2, 1.0, -4.0]], requires_grad=True)
    kept = gumbel_top_b(scores, 2, 0.5, None)
    kept.mask.sum().backward()
    p = torch.sigmoid((scores.detach() - 1.1) / 0.5)
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, p * (1 - p) / 0.5)
    assert scores.grad[0, 1:3].min() > 100 * scores.grad[0, [0, 3]].max()


def test_choice_that_has_no_alternative_has_no_gradient() -> None:
    scores = torch.tensor([[5.0, 1.2]], requires_grad=True)
    assert (
        not gumbel_top_b(scores, 2, 0.5, None).mask.requires_grad
        or torch.autograd.grad(gumbel_top_b(scores, 2, 0.5, None).mask.sum(), scores)[0].eq(0).all()
    )


def test_noise_is_gumbel_and_the_same_for_a_row_in_any_part_of_the_batch() -> None:
    noise = gumbel_noise(4000, draws_of(2))
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.05)  # Euler's constant
    assert noise.var().item() == pytest.approx(np.pi**2 / 6, rel=0.1)
    part = Draws(torch.Generator().manual_seed(0), range(1, 2), 2)
    assert torch.equal(gumbel_noise(4000, part), noise[1:])


def test_temperature_falls_from_start_to_end_by_equal_factors() -> None:
    assert [temperature_at(share) for share in (-1, 0, 0.5, 1, 2)] == pytest.approx([1, 1, 0.1**0.5, 0.1, 0.1])


def random_memory(rng: np.random.Generator, *, clips: int, tokens: int, newest: int) -> BoundedMemory:
    """Tokens of frames 0..newest in random cells, no two alike in a clip; some empty slots, some anchors, ties."""
    places = np.stack([rng.choice((newest + 1) * 256, tokens, replace=False) for _ in range(clips)])
    frame, cell = torch.from_numpy(places // 256), torch.from_numpy(places % 256)
    wide = torch.zeros(clips, tokens, contract.CHANNELS)
    coarse = torch.from_numpy(rng.integers(0, 4, (2, clips, tokens)) * 0.07).float()
    empty = torch.from_numpy(rng.random((clips, tokens)) < 0.1)
    frame = torch.where(empty, -1, frame)
    anchor = (frame >= 0) & (frame < 2)
    return BoundedMemory(wide, wide, frame, cell, coarse[0], coarse[1], anchor, (frame >= 0).float())


@pytest.mark.parametrize("budget", [128, 200, 384])
def test_training_keeps_the_tokens_that_the_runtime_keeps(rng: np.random.Generator, budget: int) -> None:
    memory = random_memory(rng, clips=6, tokens=500, newest=7)
    scores = torch.from_numpy(rng.integers(0, 6, (6, 500)) / 4).float()  # many ties
    hard = choose(memory, scores, newest=7, budget=budget, temperature=0.5).hard
    for clip in range(6):
        held = np.flatnonzero(memory.frame[clip].numpy() >= 0)
        order = keep_order(
            memory.frame[clip].numpy()[held],
            memory.cell[clip].numpy()[held],
            motion=memory.motion[clip].numpy()[held],
            uncertainty=memory.uncertainty[clip].numpy()[held],
            score=scores[clip].numpy()[held],
            anchor=memory.anchor[clip].numpy()[held],
            newest=7,
            quota=anchor_quota(budget),
        )
        assert set(np.flatnonzero(hard[clip].numpy())) == set(held[order[:budget]])


def test_forgotten_tokens_are_gone_and_kept_ones_stay_whole() -> None:
    memory = BoundedMemory.empty(1, 128)
    keys = torch.arange(256.0)[None, :, None].expand(1, 256, 256)
    flat = torch.full((1, 256), 0.5)
    written = memory.write((keys, keys, flat), frame=0, motion=flat, anchor=True, where=torch.tensor([True]))
    scores = torch.cat([torch.zeros(1, 128), torch.arange(256.0)[None]], 1)
    held = written.kept_by(choose(written, scores, newest=0, budget=128, temperature=1.0)).forget(128)
    assert held.cell.tolist() == [list(range(128, 256))]
    assert torch.equal(held.keys[0, :, 0], torch.arange(128.0, 256.0))
    assert (held.frame.unique().tolist(), held.keep.tolist()) == ([0], [[1.0] * 128])


def test_frame_without_the_object_writes_nothing() -> None:
    flat, wide = torch.full((2, 256), 0.5), torch.zeros(2, 256, 256)
    memory = BoundedMemory.empty(2, 128).write(
        (wide, wide, flat), frame=3, motion=flat, anchor=False, where=torch.tensor([True, False])
    )
    assert memory.frame[0, 128:].eq(3).all()
    assert memory.frame[1].eq(-1).all()
    assert memory.keep.sum(1).tolist() == [256, 0]


def read_inputs(tokens: int = 8) -> tuple[MemoryAttention, tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
    torch.manual_seed(0)
    read = MemoryAttention().double()
    with torch.no_grad():
        read.log_temperature.fill_(1.0)  # soft enough for differences to be seen
    places = torch.zeros(1, tokens, dtype=torch.float64)
    keys = torch.randn(1, tokens, 256, dtype=torch.float64) * 0.1
    return read, (torch.randn(1, 256, 256, dtype=torch.float64), keys, torch.randn_like(keys), places, places)


def test_read_of_kept_tokens_is_that_of_the_masked_bank() -> None:
    read, (tokens, keys, values, age, mask) = read_inputs()
    keep = torch.tensor([[1.0, 0, 1, 1, 0, 1, 1, 0]], dtype=torch.float64, requires_grad=True)
    given = read_kept(read.forward, keep, tokens, keys, values, age, mask)
    masked = read(tokens, keys, values, age, torch.where(keep.detach() == 0, contract.MASKED, mask))
    assert torch.equal(given.readout, masked.readout)
    assert given.attention[..., [1, 4, 7]].max() == 0


def test_gradient_of_a_switch_is_what_switching_the_token_on_would_do() -> None:
    read, (tokens, keys, values, age, mask) = read_inputs()
    keep = torch.tensor([[1.0, 0, 1, 1, 0, 1, 1, 0]], dtype=torch.float64, requires_grad=True)
    weights = torch.randn(1, 256, 256, dtype=torch.float64)
    loss = (read_kept(read.forward, keep, tokens, keys, values, age, mask).readout * weights).sum()
    loss.backward()
    assert keep.grad is not None
    for dropped in (1, 4, 7):
        other = keep.detach().clone()
        other[0, dropped] = 1
        after = (read_kept(read.forward, other, tokens, keys, values, age, mask).readout * weights).sum()
        assert keep.grad[0, dropped].item() == pytest.approx((after - loss).item(), rel=1e-6)


def test_budget_loss_is_the_squared_excess_and_the_share_kept(rng: np.random.Generator) -> None:
    soft = torch.from_numpy(rng.random((2, 10)))
    held = torch.ones(2, 10, dtype=torch.bool)
    held[1, 3:] = False
    kept = np.array([soft[0].sum(), soft[1, :3].sum()])
    expected = np.mean((kept / [4, 3] - 1) ** 2 + 0.01 * kept / [10, 3])  # three tokens: their number is the budget
    assert budget_loss(soft, held, budget=4).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("selection", list(Selection))
def test_clips_train_on_the_bank_and_the_gate_learns_from_the_masks_alone(selection: Selection) -> None:
    student, batch = small_student(), moving_square(frames=5)
    settings = ForwardSettings(memory="bank", selection=selection, budget=128, prompt_share=0, correction_share=0)
    outcome = ClipForward(student, settings, bfloat16=False)(batch, torch.Generator().manual_seed(0), progress=0.0)
    outcome.loss.backward()  # type: ignore[no-untyped-call]
    assert outcome.parts["loss"] == pytest.approx(outcome.loss.item())
    gradients = [parameter.grad for parameter in student.token_gate.parameters()]
    if selection is Selection.GATE:
        assert all(g is not None and g.isfinite().all() and g.abs().max() > 0 for g in gradients)
    else:
        assert all(g is None or g.abs().max() == 0 for g in gradients)


def test_step_on_the_bank_does_not_depend_on_how_the_batch_is_cut() -> None:
    student, batch = small_student(), moving_square(clips=2, frames=4)
    settings = replace(ForwardSettings(), memory="bank", budget=128, correction_share=0.5)
    whole = ClipForward(student, settings, bfloat16=False)(batch, torch.Generator().manual_seed(3))
    parts = [
        ClipForward(student, settings, bfloat16=False)(piece, torch.Generator().manual_seed(3))
        for piece in batch.pieces(1)
    ]
    assert sum(part.parts["loss"] for part in parts) / 2 == pytest.approx(whole.parts["loss"], rel=1e-4)
    torch.testing.assert_close(torch.cat([part.predictions for part in parts]), whole.predictions, atol=1e-3, rtol=0)
