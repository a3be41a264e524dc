"""Painting cut-outs: pixels and mask agree, masks are never mirrored, filled objects are gone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2lite_mobile.training.cut_outs import CutOut, Layer, cut_out, fill_object, match_colours, view_image, view_mask
from sam2lite_mobile.training.motion import Track, View, random_ripple
from sam2lite_mobile.training.scene import Scene, cover, slip_behind
from tests.training.synthetic_data import BLUE, GREEN, disk, paint

VIEW = View(aspect=1.5, size_px=64)
LABELS = disk(60, 90, x=40, y=30, radius=18)
PIXELS, MASK = paint(LABELS, (GREEN,)), LABELS * 255


def layer(
    *,
    x: float,
    y: float,
    frames: int = 2,
    colour: tuple[int, int, int] = GREEN,
    rippled: bool = False,
    angle: float = 0,
) -> Layer:
    piece = cut_out(paint(LABELS, (colour,)), MASK, reduction=1.0)
    values = {"x": x, "y": y, "scale": 0.01, "angle": angle, "squeeze": 1.0, "tilt_x": 0.0, "tilt_y": 0.0}
    track = Track(**{name: np.full(frames, value) for name, value in values.items()})
    ripple = random_ripple(np.random.default_rng(5), 30.0, strength=0.05) if rippled else None
    return Layer(piece, track.poses(piece.centre, VIEW), ripple, softness=0.0)


def canvas() -> np.ndarray:
    return np.zeros((64, 64, 3), dtype=np.uint8)


@given(
    x=st.floats(-0.3, 1.8),
    y=st.floats(-0.3, 1.3),
    angle=st.floats(-3, 3),
    rippled=st.booleans(),
    index=st.integers(0, 1),
)
def test_mask_is_where_the_colour_is(x: float, y: float, angle: float, rippled: bool, index: int):
    frame = canvas()
    mask = layer(x=x, y=y, angle=angle, rippled=rippled).paint(frame, index, VIEW)

    # Along the edge a pixel's green is its share of the cut-out's green times its share of alpha: 0.25 where half is
    # covered. Everywhere else the frame is green or black.
    green = frame[..., 1].astype(float) / 255
    assert (
        np.array_equal(np.sqrt(green) > 0.5, mask > 0)
        or np.abs(np.sqrt(green[(green > 0.25) != (mask > 0)]) - 0.5).max() < 0.02
    )


def test_object_in_the_middle_has_its_area():
    mask = layer(x=0.75, y=0.5).paint(canvas(), 0, VIEW)

    expected = np.pi * 18**2 * 0.01**2 * 64 * 64 / 1.5
    assert np.count_nonzero(mask) == pytest.approx(expected, rel=0.05)


def test_object_out_of_view_paints_nothing():
    frame = canvas()
    mask = layer(x=3.0, y=0.5).paint(frame, 0, VIEW)

    assert not mask.any()
    assert not frame.any()


def test_object_that_an_image_border_cuts_ends_there():
    labels = disk(60, 90, x=0, y=30, radius=18)
    piece = cut_out(paint(labels, (GREEN,)), labels * 255, reduction=1.0)

    assert piece.alpha[0].max() == piece.alpha[:, 0].max() == piece.alpha[-1].max() == piece.alpha[:, -1].max() == 0
    assert piece.area_px == labels.sum()


def test_reduced_cut_out_keeps_its_shape():
    piece = cut_out(PIXELS, MASK, reduction=3.0)

    assert piece.area_px == pytest.approx(np.count_nonzero(MASK) / 9, rel=0.1)
    assert (piece.pixels[piece.alpha == 255] == GREEN).all()


def test_matched_colours_move_towards_the_background():
    pixels = np.full((20, 20, 3), 60, dtype=np.uint8)
    piece = CutOut(pixels, np.full((20, 20), 255, dtype=np.uint8))
    background = np.full((8, 8, 3), (200, 60, 20), dtype=np.uint8)

    means = np.mean(
        [match_colours(np.random.default_rng(i), piece, background).pixels[0, 0] for i in range(40)], axis=0
    )
    assert means[0] > 65
    assert means[1] == 60
    assert means[2] < 55


def test_filled_object_leaves_no_trace_of_its_colour():
    filled = fill_object(PIXELS, MASK)

    assert filled.shape == PIXELS.shape
    assert filled[..., 1].max() <= 15
    assert np.abs(filled[30, 40].astype(int) - (200, 0, 0)).max() <= 10


def test_image_is_mirrored_beyond_its_border_and_its_mask_is_not():
    labels = disk(60, 90, x=8, y=30, radius=6)
    track = Track(*(np.array([value]) for value in (0.75, 0.5, 0.01, 0.0, 1.0, 0.0, 0.0)))
    [pose] = track.poses((0.0, 30.0), VIEW)

    image = view_image(paint(labels, (GREEN,)), pose, VIEW, ripple=None, moment=0)
    mask = view_mask(labels * 255, pose, VIEW, ripple=None, moment=0)
    green = image[..., 1] > 127
    assert green[:, :32].sum() == pytest.approx(green[:, 32:].sum(), rel=0.2)
    assert not mask[:, :31].any()
    assert np.array_equal(mask[:, 32:] > 0, green[:, 32:])


def scene(frames: int = 2) -> Scene:
    """A green disk in the middle of a black frame."""
    labels = disk(64, 64, x=32, y=32, radius=12)
    pixels = np.zeros((64, 64, 3), dtype=np.uint8)
    pixels[labels > 0] = GREEN
    return Scene([pixels.copy() for _ in range(frames)], [labels * 255 for _ in range(frames)], "test")


def test_covered_pixels_leave_the_mask():
    before = scene()
    after = cover(before, layer(x=0.95, y=0.6, colour=BLUE), VIEW)

    for frame, mask, full in zip(after.frames, after.masks, before.masks, strict=True):
        assert 0 < np.count_nonzero(mask) < np.count_nonzero(full)
        assert (frame[mask > 0][:, 2] < 130).all()
        assert ((full > 0) & (mask == 0))[frame[..., 2] > 130].any()
    assert (before.frames[0][..., 2] == 0).all()


def test_layer_that_hides_the_object_at_first_is_not_used():
    before = scene()

    assert cover(before, layer(x=0.75, y=0.5, colour=BLUE), VIEW) is before


def test_layer_behind_changes_neither_mask_nor_object():
    before = scene()
    after = slip_behind(before, layer(x=0.9, y=0.5, colour=BLUE), VIEW)

    inner = disk(64, 64, x=32, y=32, radius=9) > 0
    assert all(np.array_equal(a, b) for a, b in zip(after.masks, before.masks, strict=True))
    assert (after.frames[0][inner] == GREEN).all()
    assert (after.frames[0][..., 2] > 200).any()
