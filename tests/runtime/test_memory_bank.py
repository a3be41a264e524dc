"""The memory bank against a slow model of the rules, its tensors, corrections, refusals and constant memory."""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam2lite_mobile.contract import BANK_TOKENS_MIN, CHANNELS, MASKED, TOKENS_PER_FRAME
from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.runtime.memory_bank import BankContents, FrameTokens, MemoryBank, keep_order

B, T, D = BANK_TOKENS_MIN, TOKENS_PER_FRAME, CHANNELS
LEVELS = np.array([0, 0.05, np.nextafter(np.float32(0.1), np.float32(0)), 0.1, 0.5], np.float32)
"""Motions and uncertainties on both sides of the redundancy threshold."""


def frame_tokens(frame: int, *, anchor: bool = False, seed: int | None = None) -> FrameTokens:
    """Tokens whose keys hold frame and cell, so that every slot tells where its content comes from."""
    rng = np.random.default_rng(frame if seed is None else seed)
    keys = np.zeros((T, D), np.float32)
    keys[:, 0], keys[:, 1] = frame, np.arange(T)
    motion, uncertainty = rng.choice(LEVELS, (2, T))
    return FrameTokens(frame, keys, keys + 0.5, motion, uncertainty, anchor)


def lively(frame: int, *, anchor: bool = False) -> FrameTokens:
    """Tokens none of which is redundant."""
    tokens = frame_tokens(frame, anchor=anchor)
    return replace(tokens, motion=np.full(T, 0.5, np.float32))


def scores_by_cell(bank_tokens: int = B) -> NDArray[np.float32]:
    """Score 1 for bank tokens, and higher for lower cells among new tokens."""
    return np.concatenate([np.ones(bank_tokens), np.linspace(0.9, 0.1, T)]).astype(np.float32)


def kept(bank: MemoryBank) -> set[tuple[int, int]]:
    contents = bank.contents()
    held = contents.frame >= 0
    return set(zip(contents.frame[held].tolist(), contents.cell[held].tolist(), strict=True))


def assert_same(first: BankContents, second: BankContents) -> None:
    for field in fields(BankContents):
        assert np.array_equal(getattr(first, field.name), getattr(second, field.name)), field.name


@dataclass
class Token:
    """A token of the slow model."""

    frame: int
    cell: int
    motion: np.float32
    uncertainty: np.float32
    score: float
    anchor: bool

    @property
    def redundant(self) -> bool:
        return bool(self.motion < np.float32(0.1) and self.uncertainty < np.float32(0.1))


def sorted_by_the_rules(tokens: list[Token], newest: int, quota: int) -> list[Token]:
    """The total order as three sorted lists, one after the other."""

    def by_score(token: Token) -> tuple[Any, ...]:
        return (token.redundant, -token.score, -token.frame, token.cell)

    def by_frame(token: Token) -> tuple[Any, ...]:
        return (token.redundant, -token.frame, -token.score, token.cell)

    anchors = sorted((token for token in tokens if token.anchor), key=by_score)[:quota]
    ordinary = [token for token in tokens if not any(token is anchor for anchor in anchors)]
    recent = sorted((token for token in ordinary if token.frame in range(newest - 3, newest + 1)), key=by_frame)
    rest = sorted((token for token in ordinary if token.frame < newest - 3), key=by_score)
    return anchors + recent + rest


tokens_strategy = st.lists(
    st.builds(
        Token,
        frame=st.integers(0, 9),
        cell=st.integers(0, 5),
        motion=st.sampled_from(list(LEVELS)),
        uncertainty=st.sampled_from(list(LEVELS)),
        score=st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0]),
        anchor=st.booleans(),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda token: (token.frame, token.cell),
)


@given(tokens_strategy, st.integers(9, 12), st.integers(0, 40))
def test_order_equals_sorted_lists(tokens: list[Token], newest: int, quota: int) -> None:
    order = keep_order(
        np.array([token.frame for token in tokens]),
        np.array([token.cell for token in tokens]),
        motion=np.array([token.motion for token in tokens], np.float32),
        uncertainty=np.array([token.uncertainty for token in tokens], np.float32),
        score=np.array([token.score for token in tokens], np.float32),
        anchor=np.array([token.anchor for token in tokens]),
        newest=newest,
        quota=quota,
    )
    expected = sorted_by_the_rules(tokens, newest, quota)
    assert [id(tokens[place]) for place in order] == [id(token) for token in expected]


@given(st.integers(0, 10_000), st.sampled_from([B, 200, 384]))
def test_bank_equals_a_sorted_list_over_many_frames(seed: int, bank_tokens: int) -> None:
    rng = np.random.default_rng(seed)
    bank, model, frame = MemoryBank(bank_tokens), list[Token](), 0
    for _ in range(8):
        new = frame_tokens(frame, anchor=bool(rng.random() < 0.3), seed=int(rng.integers(1 << 30)))
        scores = (rng.integers(0, 12, bank_tokens + T) / 4).astype(np.float32)
        before = bank.contents()
        slot_score = {(int(before.frame[i]), int(before.cell[i])): float(scores[i]) for i in range(bank_tokens)}
        for token in model:
            token.score = slot_score[token.frame, token.cell]
        model += [
            Token(frame, i, new.motion[i], new.uncertainty[i], float(scores[bank_tokens + i]), new.anchor)
            for i in range(T)
        ]
        model = sorted_by_the_rules(model, frame, 2 * bank_tokens // 3)[:bank_tokens]
        bank.insert(new, scores)

        contents = bank.contents()
        held = {
            (int(contents.frame[i]), int(contents.cell[i])): i for i in range(bank_tokens) if contents.frame[i] >= 0
        }
        assert held.keys() == {(token.frame, token.cell) for token in model}
        for token in model:
            slot = held[token.frame, token.cell]
            assert contents.keys[slot, :2].tolist() == [token.frame, token.cell]
            assert contents.values[slot, 1] == token.cell + 0.5
            assert contents.motion[slot] == token.motion
            assert contents.uncertainty[slot] == token.uncertainty
            assert contents.score[slot] == token.score
            assert contents.anchor[slot] == token.anchor
        frame += int(rng.integers(1, 4))


def test_kept_tokens_stay_in_their_slots_and_new_ones_fill_the_free_slots_in_cell_order() -> None:
    bank = MemoryBank(384)
    bank.insert(lively(0, anchor=True), scores_by_cell(384))
    assert bank.contents().cell[:T].tolist() == list(range(T))
    bank.insert(lively(1), scores_by_cell(384))
    before = bank.contents()
    assert before.frame[T:].tolist() == [1] * 128
    scores = scores_by_cell(384)
    scores[384:] = scores[384:][::-1]  # the higher half of the cells is kept
    bank.insert(lively(2), scores)
    after = bank.contents()
    assert np.array_equal(after.cell[:T], before.cell[:T])
    assert after.frame[T:].tolist() == [2] * 128
    assert after.cell[T:].tolist() == list(range(128, 256))


def test_whole_first_frame_and_the_last_frame_share_384_tokens() -> None:
    bank = MemoryBank(384)
    bank.insert(lively(0, anchor=True), scores_by_cell(384))
    for frame in range(1, 9):
        bank.insert(lively(frame), scores_by_cell(384))
    assert bank.tokens_by_age(8) == {0: 128, 8: 256}


def test_anchors_beyond_two_thirds_compete_as_ordinary_tokens() -> None:
    bank = MemoryBank(384)
    bank.insert(lively(0, anchor=True), scores_by_cell(384))
    bank.insert(lively(1, anchor=True), scores_by_cell(384))
    # 256 by score: all of frame 0 (score 1). The rest of the slots goes to frame 1 as the newest frame.
    assert bank.tokens_by_age(1) == {0: 128, 1: 256}
    assert bank.contents().anchor.all()
    bank.insert(lively(2), scores_by_cell(384))
    # All 384 anchors score 1; newer frames win ties, so frame 1 keeps its 128 and frame 0 loses 128 to frame 2.
    assert bank.tokens_by_age(2) == {0: 128, 1: 128, 2: 128}


def test_full_bank_drops_oldest_recent_frame_first() -> None:
    bank = MemoryBank(B)
    few = np.full(T, 0, np.float32)
    few[:40] = 0.5  # 40 lively cells a frame: three frames fit, and 8 tokens of a fourth
    for frame in range(4):
        tokens = replace(lively(frame), motion=few, uncertainty=np.zeros(T, np.float32))
        bank.insert(tokens, scores_by_cell())
    assert bank.tokens_by_age(3) == {0: 40, 1: 40, 2: 40, 3: 8}


def test_redundant_tokens_go_first_even_from_the_newest_frame() -> None:
    bank = MemoryBank(B)
    bank.insert(lively(0), scores_by_cell())
    still = replace(lively(1), motion=np.zeros(T, np.float32), uncertainty=np.zeros(T, np.float32))
    bank.insert(still, scores_by_cell())
    assert bank.tokens_by_age(1) == {1: B}


@pytest.mark.parametrize(
    ("newest", "expected"),
    [
        (2, {0: 256, 1: 256}),  # frame 1 is recent: all of it stays before frame 0, whatever the scores
        (4, {0: 256, 3: 256}),
        (5, {0: 256, 4: 128, 5: 128}),  # neither is recent: the 128 of frame 0 with score 5, then ties to frame 1
        (90, {0: 256, 89: 128, 90: 128}),
    ],
)
def test_frames_older_than_four_compete_by_score_alone(newest: int, expected: dict[int, int]) -> None:
    bank = MemoryBank(512)
    bank.insert(lively(0), scores_by_cell(512))
    bank.insert(lively(1), scores_by_cell(512))
    scores = scores_by_cell(512)
    scores[64:192] = 5
    bank.insert(lively(newest), scores)
    assert bank.tokens_by_age(newest) == expected
    if newest >= 5:
        assert {cell for frame, cell in kept(bank) if frame == 0} == set(range(64, 192))
        assert {cell for frame, cell in kept(bank) if frame == 1} == set(range(128))


def test_empty_bank_has_no_memory_in_view() -> None:
    view = MemoryBank(B).view(0, 8)
    assert (view["memory_mask"] == MASKED).all()
    for name in ("memory_keys", "memory_values", "memory_age", "memory_anchor"):
        assert not view[name].any()
    assert {name: array.shape for name, array in view.items()} == {
        "memory_keys": (1, B, D),
        "memory_values": (1, B, D),
        "memory_age": (1, B),
        "memory_mask": (1, B),
        "memory_anchor": (1, B),
    }
    assert all(array.dtype == np.float32 for array in view.values())


def test_view_masks_ordinary_tokens_outside_the_window_and_never_anchors() -> None:
    bank = MemoryBank(384)
    bank.insert(lively(0, anchor=True), scores_by_cell(384))
    bank.insert(lively(1), scores_by_cell(384))
    frames = bank.contents().frame
    for now, window, sees_frame_1 in ((2, 2, True), (3, 2, True), (4, 2, False), (9, 8, True), (10, 8, False)):
        view = bank.view(now, window)
        expected = np.where((frames == 0) | sees_frame_1, 0, MASKED).astype(np.float32)
        assert np.array_equal(view["memory_mask"][0], expected), (now, window)
        assert np.array_equal(view["memory_age"][0], ((now - frames) / 128).astype(np.float32))
        assert np.array_equal(view["memory_anchor"][0], frames == 0)
        assert np.array_equal(view["memory_keys"][0, :, 0], frames)


def test_frame_does_not_see_its_own_tokens_unless_the_user_gave_them() -> None:
    bank = MemoryBank(384)
    bank.insert(lively(4, anchor=True), scores_by_cell(384))
    assert (bank.view(4, 2)["memory_mask"][0, :T] == 0).all()
    bank.insert(lively(5), scores_by_cell(384))
    mask = bank.view(5, 2)["memory_mask"][0]
    assert (mask[:T] == 0).all()
    assert (mask[T:] == MASKED).all()


def test_age_stops_at_one() -> None:
    bank = MemoryBank(B)
    bank.insert(lively(0, anchor=True), scores_by_cell())
    ages = [float(bank.view(frame, 2)["memory_age"].max()) for frame in (0, 1, 127, 128, 129, 5000)]
    assert ages == [0, 1 / 128, 127 / 128, 1, 1, 1]


def test_gate_reads_bank_then_new_frame_with_empty_slots_zero() -> None:
    bank = MemoryBank(384)
    first, second = frame_tokens(3), frame_tokens(7)
    inputs = bank.gate_inputs(first)
    assert all(not array[:, :384].any() for array in inputs.values())
    bank.insert(first, scores_by_cell(384))
    inputs = bank.gate_inputs(second)
    assert inputs["keys"].shape == inputs["values"].shape == (1, 384 + T, D)
    for name in ("keys", "values", "motion", "uncertainty"):
        assert np.array_equal(inputs[name][0, :T], getattr(first, name)), name
        assert not inputs[name][0, T:384].any(), name
        assert np.array_equal(inputs[name][0, 384:], getattr(second, name)), name
    assert inputs["age"][0].tolist() == [4 / 128] * T + [0] * 384


def test_gate_inputs_do_not_change_what_the_bank_holds() -> None:
    bank = MemoryBank(B)
    bank.insert(frame_tokens(0), scores_by_cell())
    before = bank.contents()
    bank.gate_inputs(frame_tokens(1))
    assert_same(before, bank.contents())
    bank.insert(frame_tokens(2), scores_by_cell())
    other = MemoryBank(B)
    other.insert(frame_tokens(0), scores_by_cell())
    other.insert(frame_tokens(2), scores_by_cell())
    assert_same(other.contents(), bank.contents())


def test_tensors_are_read_only() -> None:
    bank = MemoryBank(B)
    for array in (*bank.view(0, 2).values(), *bank.gate_inputs(frame_tokens(0)).values()):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1


def test_correction_replaces_the_frames_tokens() -> None:
    bank, never_wrong = MemoryBank(384), MemoryBank(384)
    for each in (bank, never_wrong):
        each.insert(lively(0, anchor=True), scores_by_cell(384))
    bank.insert(lively(1), scores_by_cell(384))
    corrected = replace(lively(1, anchor=True), values=np.full((T, D), 9, np.float32))
    inputs = bank.gate_inputs(corrected)
    for name, expected in never_wrong.gate_inputs(corrected).items():
        assert np.array_equal(inputs[name], expected), name
    bank.replace_frame(corrected, scores_by_cell(384))
    never_wrong.insert(corrected, scores_by_cell(384))
    assert_same(bank.contents(), never_wrong.contents())
    assert (bank.contents().values[T:] == 9).all()


def test_correction_blanks_slots_that_it_does_not_refill() -> None:
    bank = MemoryBank(512)
    bank.insert(lively(0), scores_by_cell(512))
    bank.replace_frame(lively(1), scores_by_cell(512))
    bank.replace_frame(lively(1), scores_by_cell(512))
    assert bank.tokens_by_age(1) == {0: T, 1: T}
    assert bank.token_count == 512


def test_reset_bank_is_as_new() -> None:
    bank = MemoryBank(B)
    for frame in range(3):
        bank.insert(frame_tokens(frame, anchor=frame == 0), scores_by_cell())
    for _ in range(2):
        bank.reset()
        assert_same(bank.contents(), MemoryBank(B).contents())
    assert bank.newest_frame == -1
    assert bank.token_count == 0
    bank.insert(frame_tokens(0), scores_by_cell())
    assert bank.newest_frame == 0


def spoiled_array(array: NDArray[np.float32], how: str) -> NDArray[Any]:
    """The array with another dtype, one row less, or one value ("nan", "inf", "-inf") in its middle."""
    if how == "dtype":
        return array.astype(np.float64)
    if how == "shape":
        return array[:-1]
    spoiled = array.copy()
    spoiled.flat[spoiled.size // 2] = float(how)
    return spoiled


FIELDS = ("keys", "values", "motion", "uncertainty")
BAD_ARRAYS = [
    (method, name, how)
    for method, names in (
        ("insert", (*FIELDS, "scores")),
        ("replace_frame", (*FIELDS, "scores")),
        ("gate_inputs", FIELDS),
    )
    for name in names
    for how in ("nan", "inf", "-inf", "dtype", "shape")
]


@pytest.mark.parametrize(("method", "name", "how"), BAD_ARRAYS)
def test_bad_input_leaves_the_bank_as_it_was(method: str, name: str, how: str) -> None:
    bank = MemoryBank(B)
    for frame in range(3):
        bank.insert(frame_tokens(frame, anchor=frame == 0), scores_by_cell())
    before = bank.contents()
    view = {key: array.copy() for key, array in bank.view(3, 8).items()}
    tokens, scores = frame_tokens(2 if method == "replace_frame" else 3), scores_by_cell()
    if name == "scores":
        scores = spoiled_array(scores, how)
    else:
        changes: dict[str, Any] = {name: spoiled_array(getattr(tokens, name), how)}
        tokens = replace(tokens, **changes)
    arguments = (tokens,) if method == "gate_inputs" else (tokens, scores)
    with pytest.raises(ContractError, match=f"memory {name}"):
        getattr(bank, method)(*arguments)
    assert_same(before, bank.contents())
    for key, array in bank.view(3, 8).items():
        assert np.array_equal(array, view[key]), key


def test_frames_must_come_in_order() -> None:
    bank = MemoryBank(B)
    bank.insert(frame_tokens(5), scores_by_cell())
    before = bank.contents()
    with pytest.raises(ContractError, match="use replace_frame"):
        bank.insert(frame_tokens(5), scores_by_cell())
    for call in (
        lambda: bank.insert(frame_tokens(4), scores_by_cell()),
        lambda: bank.replace_frame(frame_tokens(4), scores_by_cell()),
        lambda: bank.gate_inputs(frame_tokens(4)),
        lambda: bank.view(4, 8),
    ):
        with pytest.raises(ContractError, match="index 5 or later, got 4"):
            call()
    with pytest.raises(ContractError, match="index 0 or later, got -1"):
        MemoryBank(B).insert(frame_tokens(-1, seed=0), scores_by_cell())
    assert_same(before, bank.contents())


@pytest.mark.parametrize("window", [1, 9])
def test_window_out_of_range_is_refused(window: int) -> None:
    with pytest.raises(ContractError, match="memory window: expected 2 to 8"):
        MemoryBank(B).view(0, window)


@pytest.mark.parametrize("bank_tokens", [127, 513])
def test_budget_out_of_range_is_refused(bank_tokens: int) -> None:
    with pytest.raises(ContractError, match="bank tokens: expected 128 to 512"):
        MemoryBank(bank_tokens)


def test_memory_and_time_are_constant_over_ten_thousand_frames() -> None:
    bank = MemoryBank(B)
    tokens, scores = [frame_tokens(frame) for frame in range(7)], scores_by_cell()
    seconds = np.empty(10_000)
    tracemalloc.start()
    try:
        for frame in range(seconds.size):
            started = time.thread_time()
            now = replace(tokens[frame % 7], frame=frame, anchor=frame % 1000 == 0)
            bank.gate_inputs(now)
            bank.insert(now, scores)
            bank.view(frame + 1, 8)
            seconds[frame] = time.thread_time() - started
            if frame == 100:
                early = tracemalloc.get_traced_memory()[0]
        late = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert late - early < 16 * 1024
    assert bank.token_count == B
    # CPU time, quartiles of 1,000 frames: growth would slow all of the late ones, a busy machine only some.
    assert np.percentile(seconds[-1000:], 25) < 2 * np.percentile(seconds[100:1100], 25)


def test_cells_are_told_by_frame_in_order_and_are_those_that_are_kept() -> None:
    bank = MemoryBank(B)
    assert bank.cells_by_frame() == {}
    for frame in range(6):
        bank.gate_inputs(lively(frame))
        bank.insert(lively(frame, anchor=frame == 0), scores_by_cell())
    found = bank.cells_by_frame()
    assert list(found) == sorted(found)
    assert {(frame, int(cell)) for frame, cells in found.items() for cell in cells} == kept(bank)
    assert all(np.array_equal(cells, np.sort(cells)) for cells in found.values())
