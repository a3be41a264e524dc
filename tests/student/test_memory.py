"""Memory tokens and how they are read: what a token means, and what the two reads keep apart."""

import numpy as np
import pytest
import torch

from sam2lite_mobile import contract
from sam2lite_mobile.student.constants import area_matrix, gaussian_code, pattern_place, repeat_matrix, sine_code
from sam2lite_mobile.student.memory_attention import MemoryAttention
from sam2lite_mobile.student.student import build_student, example_inputs

GRID, T, D = contract.MEMORY_GRID, contract.TOKENS_PER_FRAME, contract.CHANNELS


def smooth_features(side: int) -> torch.Tensor:
    """One continuous function of the place in 0..1, sampled at the cell centres of a side x side grid."""
    centres = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    channels = [torch.sin((i % 7 + 1) * x + 0.3 * i) + torch.cos((i % 5 + 1) * y - 0.2 * i) for i in range(D)]
    return torch.stack(channels)[None]


def disc_logits(side: int) -> torch.Tensor:
    centres = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return (0.3 - torch.hypot(x - 0.45, y - 0.55))[None, None] * 40


@pytest.mark.parametrize("size", contract.SIZES)
def test_a_token_means_the_same_place_at_every_size(size: int) -> None:
    encoder = build_student("nano").memory_encoder
    reference, tokens = (
        encoder(smooth_features(r // contract.STRIDE), disc_logits(r // contract.MASK_STRIDE)) for r in (512, size)
    )
    with torch.inference_mode():
        for name, first, second in zip(("keys", "values"), reference, tokens, strict=False):
            cosine = torch.cosine_similarity(first, second, dim=-1)
            assert float(cosine.min()) > 0.99, f"{name} of some cell moved: cosine {float(cosine.min()):.3f}"
            crossed = (
                first[0] / first[0].norm(dim=-1, keepdim=True) @ (second[0] / second[0].norm(dim=-1, keepdim=True)).T
            )
            assert torch.equal(crossed.argmax(1), torch.arange(T)) or name == "values"
        assert float((reference[2] - tokens[2]).abs().mean()) < 0.05


def test_value_carries_the_mean_and_the_pattern_of_its_cell() -> None:
    mask = np.zeros((64, 64), np.float32)  # R = 256: a cell is 4 x 4 mask pixels
    mask[4 * 3 + 1, 4 * 5 + 2] = 1  # one pixel of the cell in row 3, column 5
    logits = torch.from_numpy((2 * mask - 1) * contract.MASK_PROMPT_LOGIT)[None, None]
    encoder = build_student("nano").memory_encoder
    _, values, uncertainty = encoder(torch.zeros(1, D, GRID, GRID), logits)
    in_cell = values[0, :, : contract.MASK_CHANNELS].detach().numpy()
    cell, place = 3 * GRID + 5, 1 * contract.CELL_PATTERN + 2
    assert in_cell[cell, 0] == pytest.approx(1 / 16, abs=1e-4)
    pattern = in_cell[cell, 1:]
    assert pattern[place] == pytest.approx(1, abs=1e-4)
    assert np.delete(pattern, place) == pytest.approx(0, abs=1e-4)
    assert np.delete(in_cell, cell, 0) == pytest.approx(0, abs=1e-4)
    assert float(uncertainty.max()) < 0.01


def test_uncertainty_is_the_mean_entropy_in_bits() -> None:
    encoder = build_student("nano").memory_encoder
    logits = torch.full((1, 1, 64, 64), -30.0)
    logits[..., :4, :4] = 0  # one bit in the first cell
    logits[..., :4, 4:6] = 0  # half of the second cell
    uncertainty = encoder(torch.zeros(1, D, GRID, GRID), logits)[2][0].detach()
    assert float(uncertainty[0]) == pytest.approx(1, abs=1e-3)
    assert float(uncertainty[1]) == pytest.approx(0.5, abs=1e-3)
    assert float(uncertainty[2:].max()) < 1e-3


def read(attention: MemoryAttention, tokens: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return attention(tokens, keys, torch.randn(1, keys.shape[1], D), torch.zeros(1, keys.shape[1]), mask).attention


def test_a_frame_finds_its_own_cells_before_any_training() -> None:
    student = build_student("nano")
    features = smooth_features(GRID) * 3
    keys, values, _ = student.memory_encoder(features, disc_logits(64))
    tokens = features.flatten(2).transpose(1, 2)
    result = student.mask_decoder.read_anchors(tokens, keys, values, torch.zeros(1, T), torch.zeros(1, T))
    assert torch.equal(result.attention[0, :, :T].argmax(1), torch.arange(T))


def test_empty_bank_reads_the_null_token_and_an_undecided_mask() -> None:
    student = build_student("nano")
    attention = student.mask_decoder.read_anchors
    tokens = torch.randn(1, T, D)
    masked = torch.full((1, 128), contract.MASKED)
    result = attention(tokens, torch.zeros(1, 128, D), torch.randn(1, 128, D), torch.zeros(1, 128), masked)
    assert result.attention[..., -1].min().item() > 0.9999
    assert result.readout[..., : contract.MASK_CHANNELS].detach().numpy() == pytest.approx(0.5, abs=1e-3)


def test_attention_is_a_distribution_over_the_open_slots() -> None:
    attention = MemoryAttention()
    mask = torch.zeros(1, 128)
    mask[:, 100:] = contract.MASKED
    weights = read(attention, torch.randn(1, T, D), torch.randn(1, 128, D) * 0.05, mask)
    assert weights.sum(-1).detach().numpy() == pytest.approx(1, abs=1e-5)
    assert float(weights[..., 100:128].detach().max()) < 1e-6


def test_anchor_and_recent_tokens_are_read_apart() -> None:
    decoder = build_student("nano").mask_decoder
    inputs = example_inputs("mask_decoder", 256, bank_tokens=128)
    inputs["memory_anchor"] = (torch.arange(128) < 50).float()[None]
    with torch.inference_mode():
        trace = decoder.trace(**inputs)[3]
    assert float(trace.anchors.attention[..., 50:128].max()) < 1e-6
    assert float(trace.recent.attention[..., :50].max()) < 1e-6
    assert float(trace.anchors.attention[..., :50].sum()) > 1


def test_masked_slots_change_nothing() -> None:
    decoder = build_student("nano").mask_decoder
    inputs = example_inputs("mask_decoder", 256, bank_tokens=128)
    inputs["memory_mask"] = torch.where(torch.arange(128) < 90, 0.0, contract.MASKED)[None]
    changed = {name: value.clone() for name, value in inputs.items()}
    for name in ("memory_keys", "memory_values"):
        changed[name][:, 90:] = 5.0
    with torch.inference_mode():
        for first, second in zip(decoder(**inputs), decoder(**changed), strict=True):
            assert torch.equal(first, second)


def test_empty_prompt_slots_change_nothing() -> None:
    student = build_student("nano")
    points = torch.rand(1, contract.PROMPT_SLOTS, 2)
    labels = torch.full((1, contract.PROMPT_SLOTS), -1.0)
    labels[:, :2] = torch.tensor([2.0, 3.0])
    other = points.clone()
    other[:, 2:] = 0.9
    with torch.inference_mode():
        first, second = (student.prompt_encoder(p, labels) for p in (points, other))
    assert torch.equal(first[0], second[0])
    assert first[1].tolist() == [[0.0] * 2 + [contract.MASKED] * 6]


def test_area_matrix_averages() -> None:
    rows = area_matrix(16, 19)
    assert rows.sum(1) == pytest.approx(1, abs=1e-6)
    ramp = (np.arange(19) + 0.5) / 19
    assert rows.sum(0) == pytest.approx(16 / 19, abs=1e-6)  # every input cell counts the same
    assert rows @ ramp == pytest.approx((np.arange(16) + 0.5) / 16, abs=4e-3)


def test_pattern_place_gives_a_cell_its_own_mask_back_at_every_size() -> None:
    for size in contract.SIZES:
        g, m = size // 16, size // 4
        place = pattern_place(g)[0]
        assert place.sum(0) == pytest.approx(1)
        if size in (256, 512):  # whole pixels of the pattern: exact
            pattern = np.arange(16, dtype=np.float32)
            grid = (place * pattern[:, None, None]).sum(0)
            scale = m // 64
            assert np.array_equal(grid, np.tile(np.kron(pattern.reshape(4, 4), np.ones((scale, scale))), (16, 16)))


def test_position_codes_form_a_gaussian_kernel() -> None:
    code = gaussian_code(GRID)
    assert np.linalg.norm(code, axis=1) == pytest.approx(1, abs=1e-5)
    kernel = code @ code.T
    centres = (np.arange(GRID) + 0.5) / GRID
    y, x = np.repeat(centres, GRID), np.tile(centres, GRID)
    distance = np.hypot(y[:, None] - y, x[:, None] - x)
    near = distance < 0.15
    assert np.abs(kernel - np.exp(-(distance**2) / (2 * 0.12**2)))[near].max() < 0.25
    assert np.array_equal(kernel.argmax(1), np.arange(T))
    assert sine_code(19, 192).shape == (361, 192)
    assert repeat_matrix(2, 2).tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
