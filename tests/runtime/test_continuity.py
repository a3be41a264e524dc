"""Continuity: cells of masks, their surroundings, and which parts of a mask the tracker drops."""

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


def test_a_far_part_is_turned_into_background_of_the_same_certainty() -> None:
    place = LastPlace.of(logits((20, 20, 8)))
    decoded = logits((22, 20, 8), (50, 50, 4), value=5.0)
    kept = place.keep_near(decoded)
    assert np.array_equal(kept, np.where(logits((50, 50, 4)) > 0, np.float32(-5), decoded))
    assert kept.dtype == np.float32
    assert (decoded[0, 0, 50:54, 50:54] == 5).all(), "the argument was written to"


def test_a_part_within_reach_stays_and_one_beyond_it_goes() -> None:
    place = LastPlace.of(logits((20, 20, 8)))  # 64 cells: a reach of 4 beyond column 27
    near, far = logits((20, 20, 8), (30, 22, 2)), logits((20, 20, 8), (32, 22, 2))
    assert place.keep_near(near) is near
    assert np.array_equal(place.keep_near(far) > 0, logits((20, 20, 8)) > 0)


def test_a_part_that_reaches_out_is_cut_at_the_border_of_the_surroundings() -> None:
    place = LastPlace.of(logits((20, 20, 8)))  # a reach of 4: rows and columns 16 to 31
    kept = place.keep_near(logits((10, 18, 30)))
    inside = np.zeros((64, 64), np.bool_)
    inside[18:32, 16:32] = True
    assert np.array_equal(kept[0, 0] > 0, inside)


def test_a_thin_bridge_decides_about_its_own_pixels_alone() -> None:
    place = LastPlace.of(logits((20, 20, 8)))
    bridge = [(28 + step, 24, 1) for step in range(12)]
    with_bridge = place.keep_near(logits((20, 20, 8), (40, 22, 6), *bridge))
    without = place.keep_near(logits((20, 20, 8), (40, 22, 6), *bridge[1:]))
    assert int(((with_bridge > 0) != (without > 0)).sum()) == 1


def test_a_tiny_object_has_a_reach_of_its_own() -> None:
    place = LastPlace.of(logits((20, 20, 1)))
    near = logits((20 + REACH_MIN, 20, 1))
    assert place.keep_near(near) is near
    jumped = logits((40, 20, 1))
    assert place.keep_near(jumped) is jumped, "where nothing is near, the object has jumped"
    both = logits((20, 20, 1), (21 + REACH_MIN, 20, 1))
    assert np.array_equal(place.keep_near(both) > 0, logits((20, 20, 1)) > 0)


def test_the_reach_grows_with_every_frame_out_of_view() -> None:
    place = LastPlace.of(logits((20, 20, 8)))
    decoded = logits((20, 20, 8), (34, 22, 2))
    assert place.keep_near(decoded) is not decoded
    assert place.missed().keep_near(decoded) is decoded
    for _ in range(1000):
        place = place.missed()
    everywhere = logits((0, 0, 2), (60, 60, 3))
    assert place.keep_near(everywhere) is everywhere


@pytest.mark.parametrize("size", SIZES)
def test_place_and_mask_may_have_different_sizes(size: int) -> None:
    side = size // 4
    scale = side / 64
    squares = [(int(20 * scale), int(20 * scale), int(8 * scale)), (int(50 * scale), int(50 * scale), int(4 * scale))]
    kept = LastPlace.of(logits((20, 20, 8))).keep_near(logits(*squares, side=side))
    assert np.array_equal(kept > 0, logits(squares[0], side=side) > 0)


def test_an_empty_place_keeps_everything() -> None:
    decoded = logits((20, 20, 8), (50, 50, 4))
    assert LastPlace.of(logits()).keep_near(decoded) is decoded


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
