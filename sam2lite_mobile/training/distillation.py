"""Losses of memory-aware distillation: what the student attends to in its memory, and what it reads there.

Methodology section 1.2. Teachers' tensors are targets: no gradient goes into them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.student.constants import isometry

TEACHER_SMOOTHING = 1e-3
"""Share of a uniform distribution in the teacher's: the divergence stays finite where the teacher attends to nothing.

Over 384 tokens no query's divergence exceeds log(384 / 0.001) = 12.9.
"""
MASS_FLOOR = 1e-12
"""Least mass inside a logarithm or a quotient."""
PROJECTION_SEED = 5


def attention_loss(student: Tensor, teacher: Tensor, *, shown: Tensor, query_weight: Tensor | None = None) -> Tensor:
    """(1/Nq) sum_i w_i KL(alpha_S^i || alpha_T^i), methodology section 1.2's L_attn, meaned over the batch.

    KL(S || T) = sum_j alpha_S^ij (log alpha_S^ij - log alpha_T^ij): the direction of the methodology, which punishes
    the student for looking where the teacher does not, and lets it leave out some of what the teacher looks at.
    student, teacher: (batch, queries, tokens) over the same tokens (see `alignment`), without the student's null token.
    shown: (batch, tokens), 1 for tokens that count and 0 for hidden ones; both distributions are scaled to sum to 1
    over the shown tokens. The teacher's is mixed with TEACHER_SMOOTHING of a uniform one over them.
    query_weight: (batch, queries) in 0..1, 1 if not given; a query without target has weight 0.
    Computed in float32. Raises ContractError for shapes that do not fit.
    """
    _check_same("attention", student, teacher)
    if shown.shape != student.shape[::2]:
        raise _misfit("shown tokens", student.shape[::2], shown.shape)
    visible = shown.float()[:, None, :]
    alpha = student.float() * visible
    alpha = alpha / alpha.sum(-1, keepdim=True).clamp(min=MASS_FLOOR)
    target = teacher.detach().float() * visible
    target = target / target.sum(-1, keepdim=True).clamp(min=MASS_FLOOR)
    uniform = visible / visible.sum(-1, keepdim=True).clamp(min=1)
    target = (1 - TEACHER_SMOOTHING) * target + TEACHER_SMOOTHING * uniform
    # Where alpha is 0 the term is 0 and so is its gradient's part that would be infinite: the floor is inside the log.
    divergence = alpha * (alpha.clamp(min=MASS_FLOOR).log() - target.clamp(min=MASS_FLOOR).log())
    return _mean_over_queries(divergence.sum(-1), query_weight)


def readout_loss(student: Tensor, teacher: Tensor, *, query_weight: Tensor | None = None) -> Tensor:
    """(1/Nq) sum_i w_i ||r_S^i - r_T^i||^2, methodology section 1.2's L_readout, meaned over the batch.

    student, teacher: (batch, queries, channels); where widths differ, `ReadoutProjection` brings the student's to the
    teacher's. query_weight as for `attention_loss`. Computed in float32. Raises ContractError for unequal shapes.
    """
    _check_same("readout", student, teacher)
    squared = (student.float() - teacher.detach().float()).square().sum(-1)
    return _mean_over_queries(squared, query_weight)


class ReadoutProjection(nn.Module):
    """The student's readouts (..., student_width) in the teacher's space (..., teacher_width), float32.

    A linear map without offset that starts as an isometry (as near to one as the widths allow). It is trained beside
    the student and is no part of it: checkpoints and packages do not hold it. `learned=False` keeps the start.
    """

    def __init__(self, student_width: int, teacher_width: int, *, learned: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(student_width, teacher_width, bias=False)
        weight = torch.from_numpy(isometry(teacher_width, student_width, seed=PROJECTION_SEED))
        self.linear.weight.data.copy_(weight)
        self.linear.weight.requires_grad_(learned)

    def forward(self, readout: Tensor) -> Tensor:
        return self.linear(readout.float())  # type: ignore[no-any-return]


def _mean_over_queries(values: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return values.mean()
    if weight.shape != values.shape:
        raise _misfit("query weights", values.shape, weight.shape)
    return (values * weight.detach().float()).mean()


def _check_same(what: str, student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape or student.dim() != 3:
        raise _misfit(f"teacher's {what}", f"the student's shape {tuple(student.shape)}", teacher.shape)


def _misfit(what: str, expected: object, got: torch.Size) -> ContractError:
    shape = tuple(expected) if isinstance(expected, torch.Size) else expected
    return ContractError(explain(what, expected=shape, got=tuple(got), do="align teacher and student first"))
