"""The suite of known failures: what its videos show, and the measures on figures that can be checked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam2lite_mobile.errors import DataError
from sam2lite_mobile.evaluation.datasets import DavisLayout, read_mask
from sam2lite_mobile.evaluation.failures.cases import SUITE_NAME, Case, Kind, read_suite
from sam2lite_mobile.evaluation.failures.footage import Footage
from sam2lite_mobile.evaluation.failures.measures import by_kind, case_score, lost_share, recoveries, switched
from sam2lite_mobile.evaluation.failures.painting import cut_out, paint
from sam2lite_mobile.evaluation.failures.scenes import HIDDEN_FRAMES, Scene, scenes
from sam2lite_mobile.evaluation.failures.suite import make_suite
from tests.media.clips import write_davis


@pytest.fixture
def layout(tmp_path: Path) -> DavisLayout:
    return DavisLayout(write_davis(tmp_path / "d", ["one", "two"], frames=5))


def scene_of(layout: DavisLayout, kind: Kind) -> Scene:
    made = scenes(np.random.default_rng(0), Footage(layout, "one"), Footage(layout, "two"))
    return next(scene for scene in made if scene.kind is kind)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_footage_goes_forth_and_back(layout: DavisLayout) -> None:
    footage = Footage(layout, "one")
    assert [footage.place(index) for index in range(10)] == [0, 1, 2, 3, 4, 3, 2, 1, 0, 1]


def test_mask_of_a_painted_object_is_where_its_pixels_are() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[2:4, 3:6] = 200
    piece = cut_out(image, image[..., 0] == 200, scale=1.0)
    assert piece is not None
    canvas = np.zeros((10, 12, 3), np.uint8)
    mask = paint(canvas, piece, centre=(11.5, 5.0))  # columns 10 to 12, of which the last is outside
    assert np.array_equal(np.argwhere(mask), [[4, 10], [4, 11], [5, 10], [5, 11]])
    assert np.array_equal(canvas[..., 0] == 200, mask)


def test_glass_keeps_the_mask_and_mixes_the_colours() -> None:
    image = np.full((4, 4, 3), 200, np.uint8)
    piece = cut_out(image, np.ones((4, 4), np.bool_), scale=1.0)
    assert piece is not None
    canvas = np.full((4, 4, 3), 100, np.uint8)
    assert paint(canvas, piece, centre=(2.0, 2.0), opacity=0.4).all()
    assert (canvas == 140).all()


@pytest.mark.parametrize("kind", [Kind.OCCLUSION, Kind.ABSENCE, Kind.CUT])
def test_nothing_of_a_hidden_object_is_in_its_mask(layout: DavisLayout, kind: Kind) -> None:
    scene = scene_of(layout, kind)
    assert scene.hidden is not None
    begin, end = scene.hidden
    assert scene.draw(0).mask.any()
    assert not any(scene.draw(index).mask.any() for index in range(begin, end))
    assert all(scene.draw(index).mask.any() for index in scene.returns)


@pytest.mark.parametrize("kind", [Kind.OCCLUSION, Kind.ABSENCE])
def test_long_occlusion_lasts_more_than_two_seconds(layout: DavisLayout, kind: Kind) -> None:
    hidden = scene_of(layout, kind).hidden
    assert hidden is not None
    assert hidden[1] - hidden[0] == HIDDEN_FRAMES > 2 * 24


def test_fast_object_shares_no_pixel_with_where_it_was(layout: DavisLayout) -> None:
    scene = scene_of(layout, Kind.FAST)
    first, second = scene.draw(0).mask, scene.draw(1).mask
    assert first.any()
    assert second.any()
    assert not (first & second).any()


def test_lookalike_covers_the_object_and_is_no_part_of_its_mask(layout: DavisLayout) -> None:
    scene = scene_of(layout, Kind.LOOKALIKE)
    meeting = scene.draw(scene.frames // 2)
    assert meeting.lookalike is not None
    assert meeting.lookalike.any()
    assert not (meeting.mask & meeting.lookalike).any()
    assert meeting.mask.sum() < Footage(layout, "one").area(scene.frames // 2)


def test_same_seed_same_bytes_and_another_seed_other_places(layout: DavisLayout, tmp_path: Path) -> None:
    wanted = (Kind.TINY, Kind.LOOKALIKE)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_suite(layout, ["one"], tmp_path / name, seed=seed, kinds=wanted)
    a, b, c = (files(tmp_path / name) for name in "abc")
    assert a == b
    assert a["JPEGImages/tiny-16px-one/00000.jpg"] != c["JPEGImages/tiny-16px-one/00000.jpg"]


def test_suite_is_a_data_set_with_a_description(layout: DavisLayout, tmp_path: Path) -> None:
    made = make_suite(layout, ["one", "two"], tmp_path / "s", kinds=(Kind.TINY, Kind.LOOKALIKE))
    assert read_suite(tmp_path / "s") == made
    assert set(DavisLayout(tmp_path / "s").sequence_names()) == {case.name for case in made.cases}
    tiny = next(case for case in made.cases if case.name == "tiny-16px-one")
    assert (tiny.background, tiny.frames) == ("two", 30)
    assert 14 < tiny.side_px < 18
    copy = read_mask(tmp_path / "s" / "Lookalikes" / "lookalike-one" / "00020.png")
    assert copy.any()


def test_suite_does_not_replace_a_folder_of_something_else(layout: DavisLayout, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="holds something else"):
        make_suite(layout, ["one"], tmp_path / "mine", overwrite=True)


def test_broken_description_says_what_to_run(tmp_path: Path) -> None:
    (tmp_path / SUITE_NAME).write_text('{"cases": 3}')
    with pytest.raises(DataError, match="sam2lite failures make"):
        read_suite(tmp_path)


def test_recovery_counts_from_the_return_to_the_next_one() -> None:
    j = [1.0, 0.9, 0.0, 0.0, 0.5, 0.51, 0.0, 0.0, 0.9]
    assert recoveries(j, [2, 6]) == [3, 2]
    assert recoveries(j[:5], [2]) == [None]
    assert recoveries(j, []) == []


def test_mask_on_the_copy_is_a_switch_and_no_mask_is_none() -> None:
    truth, copy = np.zeros((2, 4), np.bool_), np.zeros((2, 4), np.bool_)
    truth[:, :2], copy[:, 2:] = True, True
    mask = np.array([[0, 1, 1, 1], [0, 0, 0, 0]], np.bool_)
    assert switched(mask, truth, copy) is True
    assert switched(np.array([[1, 1, 1, 1], [0, 0, 0, 0]], np.bool_), truth, copy) is False
    assert switched(np.zeros((2, 4), np.bool_), truth, copy) is None


def test_lost_frames_are_counted_where_the_object_is_in_view() -> None:
    assert lost_share([1.0, 0.05, 0.0, 0.8], [True, True, False, True]) == 0.5


def test_object_found_in_the_sixteenth_frame_is_found_too_late() -> None:
    case = Case("a", Kind.ABSENCE, "one", "two", 40, 10.0, hidden=(2, 4), returns=[4])
    empty, full = np.zeros((2, 2), np.bool_), np.ones((2, 2), np.bool_)
    masks = [full, full, full, empty, *([full] * 36)]

    def score(late: int) -> tuple[int, float | None]:
        j = [1.0] * 4 + [0.0] * late + [1.0] * (36 - late)
        made = case_score(case, j=j, means=(0.5, 0.7), predicted=masks, in_view=[True] * 40, switches=[], ms=1.0)
        return made.recovered, made.false_share

    assert score(14) == (1, 0.5)
    assert score(15) == (0, 0.5)


def test_means_of_a_kind_count_its_own_cases_alone() -> None:
    def case(kind: Kind) -> Case:
        return Case(str(kind), kind, "one", "two", 3, 10.0)

    masks = [np.ones((2, 2), np.bool_)] * 3
    scores = [
        case_score(case(kind), j=[1.0] * 3, means=means, predicted=masks, in_view=[True] * 3, switches=[], ms=2.0)
        for kind, means in ((Kind.FAST, (0.2, 0.4)), (Kind.TINY, (0.6, 0.6)), (Kind.FAST, (0.4, 0.6)))
    ]
    rows = by_kind(scores)
    assert [(row.kind, row.cases, round(row.jf, 6)) for row in rows] == [(Kind.TINY, 1, 0.6), (Kind.FAST, 2, 0.4)]
    assert rows[0].false_share is None
    assert rows[0].switched_share is None
