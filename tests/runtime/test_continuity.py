"""Continuity: cells of masks, what is joined to what, and which parts of a mask the tracker drops."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from sam2lite_mobile.contract import SIZES
from sam2lite_mobile.runtime import Box, Prompt, Tracker
from sam2lite_mobile.runtime.continuity import (
    CELLS,
    REACH_MIN,
    LastPlace,
    at_pixels,
    grown,
    joined_cells,
    occupied_cells,
)
from tests.runtime.scripted_engine import ScriptedEngine, scene

Square = tuple[int, int, int]


def logits(*squares: Square, side: int = 64, value: float = 3.0) -> NDArray[np.float32]:
    """Logits [1, 1, side, side]: `value` in squares (x, y, length), -2 elsewhere."""
    made = np.full((1, 1, side, side), -2, np.float32)
    for x, y, length in squares:
        made[0, 0, y : y + length, x : x + length] = value
    return made


def cells_of(grid: NDArray[np.bool_]) -> NDArray[np.uint64]:
    return occupied_cells(grid)


def grid_of(cells: NDArray[np.uint64]) -> NDArray[np.bool_]:
    return at_pixels(cells, CELLS)


grids = arrays.arrays(np.bool_, (CELLS, CELLS), elements=st.booleans(), fill=st.just(False))


def flooded(cells: NDArray[np.bool_], start: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The same as `joined_cells`, cell by cell with a stack."""
    reached = np.zeros_like(cells)
    waiting = list(zip(*np.nonzero(cells & start), strict=True))
    while waiting:
        y, x = waiting.pop()
        if reached[y, x]:
            continue
        reached[y, x] = True
        for v in range(max(y - 1, 0), min(y + 2, CELLS)):
            waiting += [(v, u) for u in range(max(x - 1, 0), min(x + 2, CELLS)) if cells[v, u] and not reached[v, u]]
    return reached


@pytest.mark.parametrize("size", SIZES)
def test_every_pixel_marks_its_own_cell_and_no_other(size: int) -> None:
    side = size // 4
    for pixel in (0, 1, side // 3, side // 2, side - 2, side - 1):
        mask = np.zeros((side, side), np.bool_)
        mask[pixel, side - 1 - pixel] = True
        cells = occupied_cells(mask)
        assert int(np.bitwise_count(cells).sum()) == 1
        assert int(cells[pixel * CELLS // side]) == 1 << ((side - 1 - pixel) * CELLS // side)
        assert at_pixels(cells, side)[pixel, side - 1 - pixel]


@pytest.mark.parametrize("size", SIZES)
def test_pixels_of_all_cells_are_the_whole_mask(size: int) -> None:
    side = size // 4
    everything = np.ones((side, side), np.bool_)
    assert np.array_equal(at_pixels(occupied_cells(everything), side), everything)
    assert not at_pixels(occupied_cells(~everything), side).any()


@given(grids)
@settings(max_examples=25, deadline=None)
def test_a_grid_of_cells_survives_the_way_there_and_back(grid: NDArray[np.bool_]) -> None:
    assert np.array_equal(grid_of(cells_of(grid)), grid)


def test_a_cell_grows_to_its_eight_neighbours_and_not_around_the_border() -> None:
    grid = np.zeros((CELLS, CELLS), np.bool_)
    grid[10, 20] = grid[30, 0] = grid[50, 63] = grid[0, 40] = grid[63, 40] = True
    wanted = np.zeros_like(grid)
    wanted[9:12, 19:22] = True
    wanted[29:32, :2] = wanted[49:52, 62:] = True
    wanted[:2, 39:42] = wanted[62:, 39:42] = True
    assert np.array_equal(grid_of(grown(cells_of(grid))), wanted)


@given(grids, grids, st.integers(0, 63), st.integers(0, 63))
@settings(max_examples=25, deadline=None)
def test_joined_cells_are_those_that_a_flood_reaches(
    grid: NDArray[np.bool_], start: NDArray[np.bool_], y: int, x: int
) -> None:
    grid[y, :] = grid[:, x] = True
    got = joined_cells(cells_of(grid), cells_of(start))
    assert np.array_equal(grid_of(got), flooded(grid, start))


def test_a_spiral_is_followed_to_its_end() -> None:
    grid = np.zeros((CELLS, CELLS), np.bool_)
    for ring in range(0, 32, 2):
        grid[ring, ring : 64 - ring] = grid[ring : 64 - ring, 63 - ring] = grid[63 - ring, ring : 64 - ring] = True
        grid[ring + 2 : 64 - ring, ring] = True
        if ring < 30:
            grid[ring + 2, ring : ring + 2] = True
    start = np.zeros_like(grid)
    start[0, 0] = True
    assert np.array_equal(grid_of(joined_cells(cells_of(grid), cells_of(start))), flooded(grid, start))


def test_a_far_part_is_turned_into_background_of_the_same_certainty() -> None:
    place = LastPlace.of(logits((20, 20, 8)))
    decoded = logits((22, 20, 8), (50, 50, 4), value=5.0)
    kept = place.keep_joined(decoded)
    assert np.array_equal(kept, np.where(logits((50, 50, 4)) > 0, np.float32(-5), decoded))
    assert kept.dtype == np.float32
    assert (decoded[0, 0, 50:54, 50:54] == 5).all(), "the argument was written to"


def test_a_part_within_reach_stays_and_one_beyond_it_goes() -> None:
    place = LastPlace.of(logits((20, 20, 8)))  # 64 cells: a reach of 4 beyond column 27
    near, far = logits((20, 20, 8), (31, 22, 2)), logits((20, 20, 8), (32, 22, 2))
    assert place.keep_joined(near) is near
    assert np.array_equal(place.keep_joined(far) > 0, logits((20, 20, 8)) > 0)


def test_a_part_that_touches_a_near_one_stays_however_long_it_is() -> None:
    decoded = logits((20, 20, 8), *[(27 + step, 27 + step, 1) for step in range(30)])
    assert LastPlace.of(logits((20, 20, 8))).keep_joined(decoded) is decoded


def test_a_tiny_object_has_a_reach_of_its_own() -> None:
    place = LastPlace.of(logits((20, 20, 1)))
    near = logits((20 + REACH_MIN, 20, 1))
    assert place.keep_joined(near) is near
    jumped = logits((40, 20, 1))
    assert place.keep_joined(jumped) is jumped, "where nothing is joined, the object has jumped"
    both = logits((20, 20, 1), (21 + REACH_MIN, 20, 1))
    assert np.array_equal(place.keep_joined(both) > 0, logits((20, 20, 1)) > 0)


def test_the_reach_grows_with_every_frame_out_of_view() -> None:
    place = LastPlace.of(logits((20, 20, 8)))
    decoded = logits((20, 20, 8), (34, 22, 2))
    assert place.keep_joined(decoded) is not decoded
    assert place.missed().keep_joined(decoded) is decoded
    for _ in range(1000):
        place = place.missed()
    everywhere = logits((0, 0, 2), (60, 60, 3))
    assert place.keep_joined(everywhere) is everywhere


@pytest.mark.parametrize("size", SIZES)
def test_place_and_mask_may_have_different_sizes(size: int) -> None:
    side = size // 4
    scale = side / 64
    squares = [(int(20 * scale), int(20 * scale), int(8 * scale)), (int(50 * scale), int(50 * scale), int(4 * scale))]
    kept = LastPlace.of(logits((20, 20, 8))).keep_joined(logits(*squares, side=side))
    assert np.array_equal(kept > 0, logits(squares[0], side=side) > 0)


def test_an_empty_place_keeps_everything() -> None:
    decoded = logits((20, 20, 8), (50, 50, 4))
    assert LastPlace.of(logits()).keep_joined(decoded) is decoded


def tracked_with(decoded: NDArray[np.float32]) -> tuple[Tracker, list[NDArray[np.float32]]]:
    """A tracker of one object whose decoder says `decoded` from its second frame on, and what is remembered."""
    engine = ScriptedEngine()
    track = Tracker(engine, size=256)
    track.step(scene({200: (8, 8, 32, 32)}), prompts={1: Prompt.from_box(Box(8, 8, 32, 32))})
    run, remembered = engine.run, []

    def scripted(graph_id: str, tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        outputs = run(graph_id, tensors)
        if "mask_decoder" in graph_id:
            outputs["visibility"][...] = 4
            outputs["mask_logits"][...] = decoded
        if "memory_encoder" in graph_id:
            remembered.append(tensors["mask_logits"])
        return outputs

    engine.run = scripted  # type: ignore[method-assign]
    return track, remembered


def test_the_tracker_neither_shows_nor_remembers_a_far_part() -> None:
    track, remembered = tracked_with(logits((8, 10, 16), (55, 55, 5)))
    result = track.step(scene({200: (8, 8, 32, 32)})).objects[1]
    assert result.mask[:36, :40].any()
    assert not result.mask[50:, 60:].any()
    assert np.array_equal(remembered[0] > 0, logits((8, 10, 16)) > 0)
    assert np.array_equal(result.mask_logits, remembered[0])


def test_a_prompt_overrules_continuity() -> None:
    track, remembered = tracked_with(logits((8, 10, 16), (55, 55, 5)))
    track.step(scene({200: (8, 8, 32, 32)}))
    result = track.correct(1, Prompt.from_box(Box(8, 8, 80, 64)))
    assert result.mask[50:, 60:].any()
    result = track.step(scene({200: (8, 8, 32, 32)})).objects[1]
    assert result.mask[50:, 60:].any(), "the place is now that of the corrected mask"
    assert np.array_equal(remembered[-1] > 0, logits((8, 10, 16), (55, 55, 5)) > 0)


def test_an_object_that_is_added_again_has_no_place_from_before() -> None:
    track, _ = tracked_with(logits((55, 55, 5), (8, 10, 16)))
    track.remove(1)
    result = track.step(scene({}), prompts={1: Prompt.from_box(Box(8, 8, 32, 32))}).objects[1]
    assert result.mask[50:, 60:].any()
