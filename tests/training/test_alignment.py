"""Bringing a teacher's attention onto the student's tokens, on cases whose answers can be worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sam2lite_mobile import contract
from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.training.alignment import (
    MEMORY_GRID,
    NO_FRAME,
    TokenSpan,
    align_attention,
    pool_mass,
    pool_queries,
)

T = contract.TOKENS_PER_FRAME
SIDE = contract.MEMORY_GRID
QUERY_GRID = (2, 2)


def rows_of(*masses: dict[int, float], tokens: int) -> Tensor:
    """Attention with one row per argument: mass by token."""
    attention = torch.zeros(len(masses), tokens)
    for row, mass in zip(attention, masses, strict=True):
        for token, value in mass.items():
            row[token] = value
    return attention


def whole_frames(*frames: int) -> tuple[Tensor, Tensor]:
    """frames and cells of a student that keeps every token of these frames."""
    return torch.tensor(frames).repeat_interleave(T), torch.arange(T).repeat(len(frames))


def test_same_grids_and_frames_change_nothing() -> None:
    attention = torch.softmax(torch.randn(4, 2 * T, generator=torch.Generator().manual_seed(1)) * 3, -1)
    spans = [TokenSpan.of_grid(0, MEMORY_GRID), TokenSpan.of_grid(5, MEMORY_GRID)]
    frames, cells = whole_frames(0, 5)
    aligned = align_attention(
        attention, spans, query_grid=QUERY_GRID, student_query_grid=QUERY_GRID, frames=frames, cells=cells
    )
    assert torch.allclose(aligned.attention, attention, atol=1e-6)
    assert torch.allclose(aligned.kept, torch.ones(4), atol=1e-5)


def test_tokens_follow_their_frame_and_cell_whatever_the_slot() -> None:
    frames, cells = torch.tensor([5, NO_FRAME, 0, 5]), torch.tensor([7, 0, 3, 0])
    attention = rows_of({3: 0.5, T + 7: 0.25, T: 0.25}, tokens=2 * T)
    spans = [TokenSpan.of_grid(0, MEMORY_GRID), TokenSpan.of_grid(5, MEMORY_GRID)]
    aligned = align_attention(
        attention, spans, query_grid=(1, 1), student_query_grid=(1, 1), frames=frames, cells=cells
    )
    assert aligned.attention.tolist() == [[0.25, 0.0, 0.5, 0.25]]
    assert aligned.kept.item() == 1


def test_teacher_twice_as_fine_sums_its_four_tokens_into_each_cell() -> None:
    fine = 2 * SIDE
    # Four tokens of cell (1, 2): rows 2 and 3, columns 4 and 5; and one of its right neighbour, column 6.
    inside = [2 * fine + 4, 2 * fine + 5, 3 * fine + 4, 3 * fine + 5]
    masses = dict(zip(inside, (0.1, 0.2, 0.3, 0.15), strict=True)) | {3 * fine + 6: 0.25}
    attention = rows_of(masses, tokens=fine * fine)
    frames, cells = whole_frames(0)
    spans = [TokenSpan.of_grid(0, (fine, fine))]
    aligned = align_attention(
        attention, spans, query_grid=(1, 1), student_query_grid=(1, 1), frames=frames, cells=cells
    )
    expected = torch.zeros(1, T)
    expected[0, SIDE + 2], expected[0, SIDE + 3] = 0.75, 0.25
    assert torch.allclose(aligned.attention, expected, atol=1e-6)


def test_teacher_twice_as_coarse_spreads_a_token_over_its_four_cells() -> None:
    attention = rows_of({9: 1.0}, tokens=64)  # row 1, column 1 of 8 x 8
    pooled, spans = pool_mass(attention, [TokenSpan.of_grid(3, (8, 8))], to=MEMORY_GRID)
    expected = torch.zeros(SIDE, SIDE)
    expected[2:4, 2:4] = 0.25
    assert torch.allclose(pooled.view(SIDE, SIDE), expected, atol=1e-6)
    assert spans == (TokenSpan(3, T, MEMORY_GRID),)


def test_token_across_a_border_gives_each_side_its_share_by_area() -> None:
    # Three columns to two: the middle one is halved. Two rows to three: each gives 2/3 to its own, 1/3 to the middle.
    attention = rows_of({1: 1.0}, {0: 0.6, 2: 0.4}, tokens=6)
    pooled, _ = pool_mass(attention, [TokenSpan.of_grid(0, (2, 3))], to=(3, 2))
    first = torch.tensor([[1 / 3, 1 / 3], [1 / 6, 1 / 6], [0, 0]])
    second = torch.tensor([[0.4, 0.4 * 2 / 3], [0.2, 0.4 / 3], [0, 0]])
    assert torch.allclose(pooled[0].view(3, 2), first, atol=1e-6)
    assert torch.allclose(pooled[1].view(3, 2), second, atol=1e-6)
    assert torch.allclose(pooled.sum(1), torch.ones(2), atol=1e-6)


def test_mass_of_pruned_frames_and_cells_is_dropped_and_the_rest_scaled() -> None:
    spans = [TokenSpan.of_grid(frame, MEMORY_GRID) for frame in (0, 1, 2)]
    attention = rows_of({4: 0.1, 9: 0.2, T + 4: 0.3, 2 * T + 4: 0.3, 2 * T + 5: 0.1}, tokens=3 * T)
    frames, cells = torch.tensor([0, 0, 2]), torch.tensor([4, 8, 4])  # frame 1 is pruned, and two cells read
    aligned = align_attention(
        attention, spans, query_grid=(1, 1), student_query_grid=(1, 1), frames=frames, cells=cells
    )
    assert aligned.attention[0].tolist() == pytest.approx([0.25, 0, 0.75], abs=1e-6)
    assert aligned.kept.item() == pytest.approx(0.4)


def test_query_whose_mass_is_all_pruned_has_no_target_and_weight_0() -> None:
    spans = [TokenSpan.of_grid(0, MEMORY_GRID), TokenSpan.of_grid(1, MEMORY_GRID)]
    attention = rows_of({T + 4: 1.0}, {4: 1e-7, T: 1.0}, {4: 0.5, T: 0.5}, tokens=2 * T)
    aligned = align_attention(
        attention,
        spans,
        query_grid=(1, 3),
        student_query_grid=(1, 3),
        frames=torch.tensor([0]),
        cells=torch.tensor([4]),
    )
    assert aligned.attention.tolist() == [[0], [0], [1]]
    assert aligned.kept.tolist() == [0, 0, 0.5]


def test_pointers_latents_and_null_tokens_are_dropped_like_pruned_frames() -> None:
    spans = [
        TokenSpan.without_place(2, frame=0),  # latents of frame 0 that look everywhere
        TokenSpan.of_grid(0, MEMORY_GRID),
        TokenSpan.without_place(3),
    ]
    attention = rows_of({0: 0.2, 2 + 6: 0.3, 2 + T: 0.4, 4 + T: 0.1}, tokens=T + 5)
    frames, cells = whole_frames(0)
    frames[7] = NO_FRAME  # an empty slot must not receive what belongs to no frame
    aligned = align_attention(
        attention, spans, query_grid=(1, 1), student_query_grid=(1, 1), frames=frames, cells=cells
    )
    assert aligned.kept.item() == pytest.approx(0.3)
    assert aligned.attention[0, 6].item() == pytest.approx(1)
    assert aligned.attention.sum().item() == pytest.approx(1)


def test_tokens_of_one_frame_and_cell_share_its_mass() -> None:
    aligned = align_attention(
        rows_of({4: 0.6, 5: 0.4}, tokens=T),
        [TokenSpan.of_grid(0, MEMORY_GRID)],
        query_grid=(1, 1),
        student_query_grid=(1, 1),
        frames=torch.tensor([0, 0, 0]),
        cells=torch.tensor([4, 4, 5]),
    )
    assert aligned.attention[0].tolist() == pytest.approx([0.3, 0.3, 0.4])


def test_queries_are_averaged_over_the_students_cell_before_scaling() -> None:
    # Two queries of one student's cell: one trusts frame 0 alone, the other gives 0.9 to the pruned frame 1.
    attention = rows_of({0: 1.0}, {1: 0.1, T: 0.9}, tokens=2 * T)
    frames, cells = whole_frames(0)
    aligned = align_attention(
        attention,
        [TokenSpan.of_grid(0, MEMORY_GRID), TokenSpan.of_grid(1, MEMORY_GRID)],
        query_grid=(1, 2),
        student_query_grid=(1, 1),
        frames=frames,
        cells=cells,
    )
    assert aligned.kept.item() == pytest.approx(0.55)
    assert aligned.attention[0, :2].tolist() == pytest.approx([0.5 / 0.55, 0.05 / 0.55], abs=1e-6)


def test_queries_on_non_dividing_grids_are_averaged_by_area() -> None:
    values = torch.tensor([[0.0, 10.0], [3.0, 20.0], [6.0, 60.0]])  # three columns, two channels
    pooled = pool_queries(values, (1, 3), to=(1, 2))
    assert torch.allclose(pooled, torch.tensor([[1.0, 40 / 3], [5.0, 140 / 3]]), atol=1e-5)
    assert torch.equal(pool_queries(values[:2], (2, 1), to=(4, 1)), values[[0, 0, 1, 1]])


def test_coarsening_first_gives_the_same_target() -> None:
    generator = torch.Generator().manual_seed(3)
    fine: tuple[int, int] = (32, 32)
    attention = torch.softmax(torch.randn(64, 1024 + 5, generator=generator) * 4, -1)
    spans = [TokenSpan.of_grid(2, fine), TokenSpan.without_place(5)]
    frames, cells = torch.full((40,), 2), torch.randperm(T, generator=generator)[:40]
    direct = align_attention(attention, spans, query_grid=(8, 8), student_query_grid=(2, 2), frames=frames, cells=cells)
    pooled, coarse = pool_mass(pool_queries(attention, (8, 8), to=(4, 4)), spans, to=MEMORY_GRID)
    in_steps = align_attention(pooled, coarse, query_grid=(4, 4), student_query_grid=(2, 2), frames=frames, cells=cells)
    assert torch.allclose(direct.attention, in_steps.attention, atol=1e-5)
    assert torch.allclose(direct.kept, in_steps.kept, atol=1e-5)


def test_misfits_are_named() -> None:
    frames, cells = whole_frames(0)
    with pytest.raises(ContractError, match="spans that cover 300 tokens, got 256 tokens in 1 spans"):
        pool_mass(torch.rand(1, 300), [TokenSpan.of_grid(0, MEMORY_GRID)], to=MEMORY_GRID)
    with pytest.raises(ContractError, match="tokens of frame 4: expected 16 x 16"):
        pool_mass(torch.rand(1, 255), [TokenSpan(4, 255, MEMORY_GRID)], to=MEMORY_GRID)
    with pytest.raises(ContractError, match="queries: expected 2 x 2"):
        pool_queries(torch.rand(5, 3), (2, 2), to=(1, 1))
    with pytest.raises(ContractError, match=r"cells \(tokens,\) in 0\.\.255"):
        align_attention(
            torch.rand(1, T),
            [TokenSpan.of_grid(0, MEMORY_GRID)],
            query_grid=(1, 1),
            student_query_grid=(1, 1),
            frames=frames,
            cells=cells + 1,
        )
