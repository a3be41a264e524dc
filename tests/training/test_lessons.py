"""What a student learns from a teacher: masks, attention inside each read, readouts; that it changes the student."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sam2lite_mobile.student.mask_decoder import DecoderTrace
from sam2lite_mobile.student.memory_attention import MemoryRead
from sam2lite_mobile.student.student import Student
from sam2lite_mobile.training.alignment import MEMORY_GRID, NO_FRAME, TokenSpan
from sam2lite_mobile.training.clip_forward import ClipForward, ClipOutcome
from sam2lite_mobile.training.clip_memory import Bank
from sam2lite_mobile.training.distillation import TEACHER_SMOOTHING, ReadoutProjection
from sam2lite_mobile.training.forward_settings import ForwardSettings
from sam2lite_mobile.training.lessons import (
    STUDENT_READOUT_WIDTH,
    Lessons,
    lessons_of,
    taught_attention,
    taught_readout,
)
from sam2lite_mobile.training.recipe import Distillation
from sam2lite_mobile.training.run import Run
from sam2lite_mobile.training.teachers.own import OwnTeacher
from sam2lite_mobile.training.teachers.teacher import TeacherFrame
from tests.training.short_runs import assert_same_entries, moving_square, short_recipe, small_student

PLAIN = ForwardSettings(prompt_share=0, correction_share=0, prune_share=0, recent_drop_share=0, largest_frame_span=1)
QUERIES, CELLS, CHANNELS = 256, 256, 256


def bank(*, recent_frame: int = 1, hidden: bool = False) -> Bank:
    """A clip's pair of frames, 0 and `recent_frame`; the recent one hidden or not."""
    tokens = (torch.zeros(1, CELLS, CHANNELS), torch.zeros(1, CELLS, CHANNELS), torch.zeros(1, CELLS))
    mask = torch.full((1, CELLS), -1e4 if hidden else 0.0)
    return Bank.of(tokens, tokens, ages=torch.zeros(1, 2), recent_frame=torch.tensor([recent_frame]), hidden=mask)


def reads(anchors: Tensor, recent: Tensor) -> DecoderTrace:
    """Reads with these attentions (1, 256, 513), null token last, and readouts of zeros."""
    readout = torch.zeros(1, QUERIES, CHANNELS)
    return DecoderTrace(MemoryRead(anchors, readout), MemoryRead(recent, readout))


def looking_at(*tokens: int) -> Tensor:
    """Attention (1, 256, 513), even over these tokens for every query."""
    attention = torch.zeros(1, QUERIES, 2 * CELLS + 1)
    attention[:, :, list(tokens)] = 1 / len(tokens)
    return attention


def teacher_frame(attention: Tensor, *, readout: Tensor | None = None) -> TeacherFrame:
    spans = (*(TokenSpan.of_grid(frame, MEMORY_GRID) for frame in (0, 1)), TokenSpan.without_place(1))
    values = torch.ones(QUERIES, 4) if readout is None else readout
    return TeacherFrame(torch.zeros(8, 8), attention[0], spans, MEMORY_GRID, values)


def divergence(student: np.ndarray, teacher: np.ndarray) -> float:
    """KL(S || T), the teacher's mixed with a uniform distribution over the same tokens; 0 log 0 = 0."""
    mixed = (1 - TEACHER_SMOOTHING) * teacher + TEACHER_SMOOTHING / len(teacher)
    seen = student > 0
    return float((student[seen] * np.log(student[seen] / mixed[seen])).sum())


def test_each_read_is_compared_with_the_teacher_inside_its_own_tokens_and_weighted_by_its_share() -> None:
    # The teacher looks at cell 3 of frame 0 (a quarter), and cells 3 and 4 of frame 1 (three quarters).
    target = torch.zeros(1, QUERIES, 2 * CELLS + 1)
    target[..., 3], target[..., CELLS + 3], target[..., CELLS + 4] = 0.25, 0.5, 0.25
    trace = reads(looking_at(3, 5), looking_at(CELLS + 3, 2 * CELLS))  # half of the recent read is on its null token
    one_cell, two_cells, student = np.zeros(CELLS), np.zeros(CELLS), np.zeros(CELLS)
    one_cell[3], two_cells[[3, 4]], student[[3, 5]] = 1, (2 / 3, 1 / 3), 0.5
    recent = np.eye(CELLS)[3]
    expected = 0.25 * divergence(student, one_cell) + 0.75 * divergence(recent, two_cells)
    assert float(taught_attention(trace, bank(), [teacher_frame(target)])) == pytest.approx(expected, rel=1e-4)


def test_tokens_that_the_student_does_not_see_take_no_part() -> None:
    target = looking_at(7, CELLS + 9)
    trace = reads(looking_at(7), looking_at(2 * CELLS))
    # Half of the teacher's attention is on frame 1, which is hidden: nothing is asked of the recent read.
    hidden = float(taught_attention(trace, bank(hidden=True), [teacher_frame(target)]))
    assert hidden == pytest.approx(0.5 * divergence(np.eye(CELLS)[7], np.eye(CELLS)[7]), abs=1e-6)
    # The same where the student remembers another frame than the teacher.
    other = float(taught_attention(trace, bank(recent_frame=2), [teacher_frame(target)]))
    assert other == pytest.approx(hidden, abs=1e-6)


def test_bank_names_the_frame_and_cell_of_what_is_shown() -> None:
    shown, hidden = bank(recent_frame=5), bank(recent_frame=5, hidden=True)
    assert shown.frame[0, [0, 255, 256, 511]].tolist() == [0, 0, 5, 5]
    assert hidden.frame[0, [0, 255, 256, 511]].tolist() == [0, 0, NO_FRAME, NO_FRAME]
    assert shown.cell[0, [0, 255, 256, 511]].tolist() == [0, 255, 0, 255]
    assert Bank.empty(1).frame.eq(NO_FRAME).all()


def test_readout_loss_is_a_share_of_the_teachers_mean_squared_readout() -> None:
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(1, QUERIES, CHANNELS, generator=generator) for _ in range(2)]
    target = torch.randn(QUERIES, 6, generator=generator)
    projection = ReadoutProjection(STUDENT_READOUT_WIDTH, 6)
    ours = torch.cat(values, -1)[0].numpy() @ projection.linear.weight.detach().numpy().T
    want = ((ours - target.numpy()) ** 2).sum(-1).mean() / (target.numpy() ** 2).sum(-1).mean()
    losses = []
    for factor in (1.0, 10.0):  # both scaled by the same factor: the same share
        scaled = DecoderTrace(*(MemoryRead(looking_at(0), value * factor) for value in values))
        taught = teacher_frame(looking_at(0), readout=target * factor)
        losses.append(taught_readout(scaled, [taught], projection).item())
    assert losses == pytest.approx([want, want], rel=1e-4)


def test_masks_are_the_teachers_of_that_frame_at_the_size_that_is_asked_for() -> None:
    def frame(logit: float) -> TeacherFrame:
        return replace(teacher_frame(looking_at(0)), mask_logits=torch.full((8, 8), logit))

    lessons = Lessons(((frame(0.0), frame(1.0)), (frame(2.0), frame(3.0))))
    masks = lessons.masks(2, size=16)
    assert masks.shape == (2, 1, 16, 16)
    torch.testing.assert_close(masks[:, 0, 5, 5], torch.sigmoid(torch.tensor([1.0, 3.0])))


def taught(student: Student, teacher: Student, settings: ForwardSettings = PLAIN) -> tuple[ClipOutcome, ClipForward]:
    batch = moving_square(frames=3)
    projection = ReadoutProjection(STUDENT_READOUT_WIDTH, STUDENT_READOUT_WIDTH)
    forward = ClipForward(student, settings, bfloat16=False, projection=projection)
    lessons = lessons_of(OwnTeacher(copy.deepcopy(teacher), weights_hash="00"), batch)
    return forward(batch, torch.Generator().manual_seed(0), lessons=lessons), forward


def test_student_that_is_its_own_teacher_has_nothing_to_learn_from_its_attention() -> None:
    student = small_student(0)
    same = taught(student, student)[0].parts["attention"]
    other = taught(student, small_student(1))[0].parts["attention"]
    # What is left is the uniform share that is mixed into the teacher's, at most -log(1 - share).
    assert same < -math.log(1 - TEACHER_SMOOTHING) + 1e-4
    assert other > 10 * same


def test_loss_with_a_teacher_adds_its_weighted_parts() -> None:
    student, teacher = small_student(0), small_student(1)
    settings = replace(PLAIN, attention_weight=0.5, readout_weight=0.125, teacher_mask_share=0)
    both = taught(student, teacher, settings)[0].parts
    neither = taught(student, teacher, replace(settings, attention_weight=0, readout_weight=0))[0].parts
    assert both["loss"] - neither["loss"] == pytest.approx(0.5 * both["attention"] + 0.125 * both["readout"], rel=1e-4)
    assert "attention" not in neither
    assert "readout" not in neither


def test_teachers_mask_is_mixed_into_the_target_by_its_share() -> None:
    student, teacher = small_student(0), small_student(1)
    losses = [taught(student, teacher, replace(PLAIN, teacher_mask_share=share))[0].parts for share in (0, 0.5, 1)]
    masks = [parts["mask"] for parts in losses]
    assert len(set(masks)) == 3
    assert len({parts["edge"] for parts in losses}) == 1  # boundaries come from the annotation


def test_gradients_of_distillation_reach_both_reads_the_memory_and_the_projection() -> None:
    student = small_student(0)
    settings = replace(PLAIN, attention_weight=1, readout_weight=1)
    outcome, forward = taught(student, small_student(1), settings)
    outcome.loss.backward()
    assert forward.projection is not None
    for parameter in (
        forward.projection.linear.weight,
        student.mask_decoder.read_anchors.content.weight,
        student.mask_decoder.read_recent.content.weight,
        student.mask_decoder.read_recent.log_temperature,
    ):
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_run_with_a_teacher_resumes_bit_for_bit_with_its_projection(tmp_path: Path, one_thread: None) -> None:
    recipe = short_recipe(distillation=Distillation("own:nano"))
    teacher = OwnTeacher(small_student(3), weights_hash="00")
    batches = [moving_square(frames=2, seed=seed) for seed in range(3)]

    def run(folder: str) -> Run:
        (tmp_path / folder).mkdir(exist_ok=True)
        return Run(recipe, tmp_path / folder, teacher=teacher)

    whole = run("whole")
    for batch in batches:
        whole.advance(batch)
    whole.save()
    first = run("parts")
    first.advance(batches[0])
    first.save()
    second = run("parts")
    assert second.resume()
    for batch in batches[1:]:
        second.advance(batch)
    second.save()
    for name in ("state.safetensors", "student.safetensors"):
        assert_same_entries(tmp_path / "whole" / name, tmp_path / "parts" / name)
    assert second.projection is not None
    start = ReadoutProjection(STUDENT_READOUT_WIDTH, STUDENT_READOUT_WIDTH).linear.weight
    assert not torch.equal(second.projection.linear.weight, start)
