"""Distillation losses against NumPy written by hand, and where their gradients go."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.training.distillation import (
    TEACHER_SMOOTHING,
    ReadoutProjection,
    attention_loss,
    readout_loss,
)

Array = NDArray[np.float64]


def distributions(rng: np.random.Generator, *shape: int) -> Array:
    values = np.exp(rng.normal(0, 2, shape))
    return values / values.sum(-1, keepdims=True)


def tensor(values: Array) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))


def divergence_by_hand(student: Array, teacher: Array, shown: Array) -> Array:
    """KL(S || T) of each query, token by token, the teacher smoothed over the shown tokens."""
    batch, queries, tokens = student.shape
    result = np.zeros((batch, queries))
    for b in range(batch):
        seen = [j for j in range(tokens) if shown[b, j]]
        for i in range(queries):
            s_sum, t_sum = student[b, i, seen].sum(), teacher[b, i, seen].sum()
            for j in seen:
                s = student[b, i, j] / s_sum
                t = (1 - TEACHER_SMOOTHING) * teacher[b, i, j] / t_sum + TEACHER_SMOOTHING / len(seen)
                result[b, i] += s * (math.log(s) - math.log(t))
    return result


def test_attention_loss_is_the_mean_divergence_of_the_student_from_the_teacher(rng: np.random.Generator) -> None:
    student, teacher = distributions(rng, 2, 5, 7), distributions(rng, 2, 5, 7)
    shown = np.array([[1.0, 1, 0, 1, 1, 0, 1], [1, 1, 1, 1, 1, 1, 1]])
    loss = attention_loss(tensor(student), tensor(teacher), shown=tensor(shown))
    expected = divergence_by_hand(student, teacher, shown).mean()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    other_way = divergence_by_hand(teacher, student, shown).mean()
    assert abs(expected - other_way) > 0.05  # the direction shows


def test_attention_loss_weighs_queries_and_still_divides_by_all_of_them(rng: np.random.Generator) -> None:
    student, teacher, weight = distributions(rng, 1, 4, 6), distributions(rng, 1, 4, 6), np.array([[1.0, 0, 0.5, 0.25]])
    loss = attention_loss(tensor(student), tensor(teacher), shown=torch.ones(1, 6), query_weight=tensor(weight))
    expected = (divergence_by_hand(student, teacher, np.ones((1, 6))) * weight).sum() / 4
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_equal_distributions_lose_next_to_nothing(rng: np.random.Generator) -> None:
    same = tensor(distributions(rng, 1, 9, 12))
    assert 0 <= attention_loss(same, same, shown=torch.ones(1, 12)).item() < 3 * TEACHER_SMOOTHING


def test_teacher_without_mass_where_the_student_looks_gives_a_finite_loss_and_gradient() -> None:
    logits = torch.tensor([[[30.0, 0.0, -1e4]]], requires_grad=True)
    teacher = torch.tensor([[[0.0, 1.0, 0.0]]])
    loss = attention_loss(torch.softmax(logits, -1), teacher, shown=torch.ones(1, 3))
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(TEACHER_SMOOTHING / 3), rel=1e-5)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_query_without_target_and_frame_without_shown_tokens_lose_nothing() -> None:
    logits = torch.randn(2, 1, 4, requires_grad=True)
    teacher = torch.full((2, 1, 4), 0.25)
    teacher[0] = 0
    shown = torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 0]])
    weight = torch.tensor([[0.0], [1.0]])
    loss = attention_loss(torch.softmax(logits, -1), teacher, shown=shown, query_weight=weight)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_gradient_moves_the_student_towards_the_teacher_and_leaves_the_teacher_and_hidden_tokens_alone() -> None:
    logits = torch.zeros(1, 1, 4, requires_grad=True)
    teacher = torch.tensor([[[0.7, 0.2, 0.1, 0.0]]], requires_grad=True)
    attention_loss(torch.softmax(logits, -1), teacher, shown=torch.tensor([[1.0, 1, 1, 0]])).backward()
    assert teacher.grad is None
    assert logits.grad is not None
    assert logits.grad[0, 0, 0] < 0 < logits.grad[0, 0, 2]
    assert logits.grad[0, 0, 3].item() == pytest.approx(0, abs=1e-7)


def test_attention_loss_is_computed_in_float32(rng: np.random.Generator) -> None:
    student, teacher = distributions(rng, 1, 3, 6), distributions(rng, 1, 3, 6)
    loss = attention_loss(tensor(student).bfloat16(), tensor(teacher).half(), shown=torch.ones(1, 6))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(divergence_by_hand(student, teacher, np.ones((1, 6))).mean(), rel=0.03)


def test_readout_loss_is_the_mean_squared_length_of_the_difference(rng: np.random.Generator) -> None:
    student, teacher, weight = rng.normal(0, 1, (2, 3, 8)), rng.normal(0, 1, (2, 3, 8)), rng.random((2, 3))
    lengths = np.zeros((2, 3))
    for b in range(2):
        for i in range(3):
            lengths[b, i] = sum((student[b, i, c] - teacher[b, i, c]) ** 2 for c in range(8))
    assert readout_loss(tensor(student), tensor(teacher)).item() == pytest.approx(lengths.mean(), rel=1e-5)
    weighted = readout_loss(tensor(student), tensor(teacher), query_weight=tensor(weight))
    assert weighted.item() == pytest.approx((lengths * weight).sum() / 6, rel=1e-5)


@pytest.mark.parametrize("learned", [True, False])
def test_readout_gradient_goes_into_the_student_and_a_learned_projection_alone(learned: bool) -> None:
    projection = ReadoutProjection(8, 5, learned=learned)
    student, teacher = torch.randn(1, 3, 8, requires_grad=True), torch.randn(1, 3, 5, requires_grad=True)
    readout_loss(projection(student), teacher).backward()
    assert student.grad is not None
    assert teacher.grad is None
    assert (projection.linear.weight.grad is not None) == learned


def test_projection_starts_as_an_isometry_that_is_the_same_every_time() -> None:
    wider, narrower = ReadoutProjection(6, 9), ReadoutProjection(9, 6)
    readout = torch.randn(4, 6)
    assert torch.allclose(wider(readout).norm(dim=1), readout.norm(dim=1), atol=1e-5)
    assert torch.allclose(narrower.linear.weight @ narrower.linear.weight.T, torch.eye(6), atol=1e-6)
    assert torch.equal(wider.linear.weight, ReadoutProjection(6, 9).linear.weight)


def test_misfit_of_teacher_and_student_is_named() -> None:
    student = torch.rand(1, 4, 6)
    with pytest.raises(ContractError, match=r"teacher's attention: expected .*\(1, 4, 6\), got \(1, 4, 7\)"):
        attention_loss(student, torch.rand(1, 4, 7), shown=torch.ones(1, 6))
    with pytest.raises(ContractError, match=r"shown tokens: expected \(1, 6\), got \(6,\)"):
        attention_loss(student, student, shown=torch.ones(6))
    with pytest.raises(ContractError, match=r"query weights: expected \(1, 4\)"):
        readout_loss(student, student, query_weight=torch.ones(1, 6))
