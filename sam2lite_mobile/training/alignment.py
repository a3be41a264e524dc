"""A teacher's attention on the student's tokens: other frames, other grids, tokens without a place, pruned frames.

A query's attention is mass over the teacher's memory. The mass of a token spreads evenly over the token's cell of the
frame, and a student's token receives what falls into its own cell of the same frame. Mass that no student's token can
receive (pruned frames and cells, object pointers and other tokens without a place) is dropped; what is left is scaled
to sum to 1, and the share that was kept says how far a query's target can be trusted.

Grids are (rows, columns) of equal cells over the whole frame, row by row, so cells of different grids compare by area.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sam2lite_mobile import contract
from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.student.constants import area_matrix

Grid = tuple[int, int]
"""(rows, columns)."""
MEMORY_GRID: Grid = (contract.MEMORY_GRID, contract.MEMORY_GRID)
NO_FRAME = -1
"""Frame of a student's token that is empty or hidden, and of a teacher's tokens that belong to no one frame."""
KEPT_FLOOR = 1e-6
"""Least kept share that is scaled to 1: below, a query's target is rounding noise, and its weight is 0."""


@dataclass(frozen=True)
class TokenSpan:
    """Neighbouring tokens of a teacher's memory. `frame` left them; `grid` places them, row by row.

    grid None: the tokens have no place (object pointers, latents that look at the whole frame, a null token).
    """

    frame: int
    tokens: int
    grid: Grid | None

    @classmethod
    def of_grid(cls, frame: int, grid: Grid) -> TokenSpan:
        """The tokens of a whole frame."""
        return cls(frame, grid[0] * grid[1], grid)

    @classmethod
    def without_place(cls, tokens: int, *, frame: int = NO_FRAME) -> TokenSpan:
        """Tokens that stand for no part of a frame."""
        return cls(frame, tokens, None)


@dataclass(frozen=True)
class AlignedAttention:
    """attention: float32 (queries, tokens) over the student's tokens; a row sums to 1, or is 0 where `kept` is 0.

    kept: float32 (queries,), 0..1, the share of the teacher's attention that these tokens can receive: the weight of
    the query in a loss. 0 where it was below KEPT_FLOOR.
    """

    attention: Tensor
    kept: Tensor


def pool_queries(values: Tensor, grid: Grid, *, to: Grid) -> Tensor:
    """What queries (rows * columns, channels) on `grid` hold, averaged by area over the cells of the grid `to`.

    Float32 (rows * columns of `to`, channels). Serves attention and readouts alike: both are linear in the values that
    are read. A finer grid `to` repeats the coarser one's values. Raises ContractError for a grid of another size.
    """
    _check_count("queries", values.shape[0], grid)
    if grid == to:
        return values.float()
    maps = values.float().reshape(*grid, -1)
    rows, columns = (_averages(m, n, like=maps) for m, n in zip(to, grid, strict=True))
    pooled = torch.einsum("yh,xw,hwc->yxc", rows, columns, maps)
    return pooled.reshape(to[0] * to[1], -1)


def pool_mass(attention: Tensor, spans: Sequence[TokenSpan], *, to: Grid) -> tuple[Tensor, tuple[TokenSpan, ...]]:
    """Attention (queries, tokens) with every placed span brought onto the grid `to`, and the spans that this makes.

    Float32. The mass of the tokens inside a cell is summed; a token that crosses a border gives each side its share by
    area. The sum of a row does not change. Tokens without a place stay as they are.
    Raises ContractError unless the spans cover the tokens.
    """
    parts, pooled = [], []
    for span, mass in _by_span(attention, spans):
        if span.grid is None:
            parts.append(mass)
            pooled.append(span)
        else:
            parts.append(_mass_on(mass, span.grid, to))
            pooled.append(TokenSpan.of_grid(span.frame, to))
    return torch.cat(parts, 1), tuple(pooled)


def align_attention(
    attention: Tensor,
    spans: Sequence[TokenSpan],
    *,
    query_grid: Grid,
    student_query_grid: Grid,
    frames: Tensor,
    cells: Tensor,
) -> AlignedAttention:
    """A teacher's attention over the student's tokens.

    attention: (queries, tokens), queries on `query_grid` row by row, tokens as `spans` name them. frames, cells: int
    (student tokens,): the frame that each of the student's tokens comes from, NO_FRAME where the slot is empty or
    hidden, and its cell of the 16 x 16 grid. Tokens of one frame and cell share their mass evenly.
    Queries are averaged before anything is scaled: a query without trust has little say in its cell.
    Raises ContractError for grids or spans that do not fit, or cells outside the grid.
    """
    _check_student_tokens(frames, cells)
    averaged = pool_queries(attention, query_grid, to=student_query_grid)
    pooled, placed = pool_mass(averaged, spans, to=MEMORY_GRID)
    received = pooled.new_zeros(pooled.shape[0], frames.numel())
    for span, mass in _by_span(pooled, placed):
        if span.grid is None:
            continue
        slots = torch.nonzero(frames == span.frame)[:, 0]
        cell = cells[slots]
        sharers = torch.bincount(cell, minlength=contract.TOKENS_PER_FRAME)[cell]
        received[:, slots] += mass[:, cell] / sharers
    kept = received.sum(1)
    kept = torch.where(kept < KEPT_FLOOR, torch.zeros_like(kept), kept.clamp(max=1))
    trusted = kept[:, None] > 0
    scaled = received / received.sum(1, keepdim=True).clamp(min=KEPT_FLOOR)
    return AlignedAttention(torch.where(trusted, scaled, torch.zeros_like(scaled)), kept)


def _mass_on(mass: Tensor, grid: Grid, to: Grid) -> Tensor:
    if grid == to:
        return mass
    # A row of `area_matrix(n, m)` says which share of one of n cells each of m cells covers: mass moves by these.
    rows, columns = (_averages(n, m, like=mass).T for m, n in zip(to, grid, strict=True))
    maps = mass.reshape(-1, *grid)
    return torch.einsum("yh,xw,qhw->qyx", rows, columns, maps).flatten(1)


def _averages(outputs: int, inputs: int, *, like: Tensor) -> Tensor:
    return torch.from_numpy(area_matrix(outputs, inputs)).to(like.device)


def _by_span(attention: Tensor, spans: Sequence[TokenSpan]) -> list[tuple[TokenSpan, Tensor]]:
    """Each span with its columns, in float32."""
    for span in spans:
        if span.grid is not None:
            _check_count(f"tokens of frame {span.frame}", span.tokens, span.grid)
    counts = [span.tokens for span in spans]
    if sum(counts) != attention.shape[1]:
        raise ContractError(
            explain(
                "teacher's memory",
                expected=f"spans that cover {attention.shape[1]} tokens",
                got=f"{sum(counts)} tokens in {len(counts)} spans",
                do="name every token of the teacher's memory once",
            )
        )
    return list(zip(spans, attention.float().split(counts, 1), strict=True))  # type: ignore[no-untyped-call]


def _check_count(what: str, count: int, grid: Grid) -> None:
    if count != grid[0] * grid[1]:
        raise ContractError(
            explain(what, expected=f"{grid[0]} x {grid[1]} row by row", got=count, do="give the grid they lie on")
        )


def _check_student_tokens(frames: Tensor, cells: Tensor) -> None:
    inside = (cells >= 0) & (cells < contract.TOKENS_PER_FRAME)
    if frames.shape != cells.shape or frames.dim() != 1 or not bool(inside.all()):
        raise ContractError(
            explain(
                "student's tokens",
                expected=f"frames (tokens,) and cells (tokens,) in 0..{contract.TOKENS_PER_FRAME - 1}",
                got=f"{tuple(frames.shape)} and {tuple(cells.shape)}",
                do="give every slot of the bank a frame and a cell; frame -1 where it is empty",
            )
        )
