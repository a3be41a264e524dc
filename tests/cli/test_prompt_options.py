"""Prompts from the command line: grouping, addresses, and every malformed value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2lite_mobile.cli.prompt_options import (
    AddressedValue,
    check_reachable,
    expand_groups,
    parse_prompts,
    split_address,
)
from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.media.label_maps import write_label_map
from sam2lite_mobile.runtime.prompts import Box, Point


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2", AddressedValue("1,2", None, None)),
        ("3:1,2", AddressedValue("1,2", 3, None)),
        ("1,2@0", AddressedValue("1,2", None, 0)),
        ("3:1,2@40", AddressedValue("1,2", 3, 40)),
        ("C:\\mask.png", AddressedValue("C:\\mask.png", None, None)),
        ("icon@2x.png", AddressedValue("icon@2x.png", None, None)),
        ("2:a@1/b.png@7", AddressedValue("a@1/b.png", 2, 7)),
    ],
)
def test_address_is_a_number_before_a_colon_and_after_an_at(text: str, expected: AddressedValue) -> None:
    assert split_address(text) == expected


def test_group_gives_its_object_and_frame_to_the_prompts_after_it() -> None:
    arguments = "v.mp4 --point 1,2 --object 1 --box 0,0,9,9 --at 40 --point 3,4,0 --object=2 --mask=m.png --out o"
    expected = "v.mp4 --point 1,2 --box 1:0,0,9,9 --point 1:3,4,0@40 --mask 2:m.png --out o"
    assert expand_groups(arguments.split()) == expected.split()


def test_what_a_prompt_says_itself_stays() -> None:
    arguments = "--object 1 --at 5 --point 2:1,1 --point 1,1@7 --point 3:1,1@0"
    assert expand_groups(arguments.split()) == "--point 2:1,1@5 --point 1:1,1@7 --point 3:1,1@0".split()


def test_arguments_after_a_double_dash_are_left_alone() -> None:
    assert expand_groups(["--object", "2", "--", "--box", "v.mp4"]) == ["--", "--box", "v.mp4"]


def test_missing_value_is_left_to_the_parser() -> None:
    assert expand_groups(["v.mp4", "--box"]) == ["v.mp4", "--box"]


@pytest.mark.parametrize("option", ["--object", "--at"])
@pytest.mark.parametrize("value", ["one", "-1", "1.5", "", "²"])
def test_group_needs_a_whole_number(option: str, value: str) -> None:
    with pytest.raises(ContractError, match=f"{option}: expected a whole number, got {value!r}"):
        expand_groups([option, value, "--point", "1,1"])


@given(st.permutations([("1", "1,1"), ("2", "2,2"), ("3", "3,3"), ("2", "4,4")]))
def test_order_of_groups_does_not_matter(groups: list[tuple[str, str]]) -> None:
    arguments = [part for number, value in groups for part in ("--object", number, "--point", value)]
    points = [value for value in expand_groups(arguments) if value != "--point"]
    prompts = parse_prompts([], points, [])[0]
    assert {number: {point.x for point in prompt.points} for number, prompt in prompts.items()} == {
        1: {1.0},
        2: {2.0, 4.0},
        3: {3.0},
    }


def test_box_and_points_of_one_object_are_one_prompt() -> None:
    prompts = parse_prompts(["0,0,9,9.5"], ["1,2", "3,4,0"], [])
    assert list(prompts) == [0]
    assert prompts[0][1].box == Box(0, 0, 9, 9.5)
    assert prompts[0][1].points == (Point(1, 2, 1), Point(3, 4, 0))


def test_prompts_are_for_the_start_frame_unless_they_say_another() -> None:
    prompts = parse_prompts(["2:0,0,9,9"], ["1,2", "3,4@12"], [], start_frame=10)
    assert {frame: sorted(objects) for frame, objects in prompts.items()} == {10: [1, 2], 12: [1]}
    with pytest.raises(ContractError, match="expected frame 10 or later, got 9"):
        parse_prompts([], ["1,2@9"], [], start_frame=10)


@pytest.fixture
def mask_file(tmp_path: Path) -> Path:
    labels = np.zeros((16, 16), np.uint8)
    labels[:4], labels[8:] = 1, 7
    write_label_map(tmp_path / "m.png", labels)
    return tmp_path / "m.png"


def test_mask_gives_one_object_an_id(mask_file: Path) -> None:
    prompts = parse_prompts([], [], [str(mask_file)])[0]
    assert {number: int(np.count_nonzero(prompt.mask)) for number, prompt in prompts.items()} == {1: 64, 7: 128}


def test_mask_of_one_object_takes_the_pixels_of_its_id(mask_file: Path) -> None:
    prompts = parse_prompts([], [], [f"7:{mask_file}@3"])
    assert int(np.count_nonzero(prompts[3][7].mask)) == 128
    with pytest.raises(ContractError, match="pixels with id 2"):
        parse_prompts([], [], [f"2:{mask_file}"])


def test_mask_with_a_single_id_becomes_the_object_that_is_asked_for(tmp_path: Path) -> None:
    write_label_map(tmp_path / "m.png", np.eye(16, dtype=np.uint8))
    assert list(parse_prompts([], [], [f"9:{tmp_path / 'm.png'}"])[0]) == [9]
    write_label_map(tmp_path / "m.png", np.zeros((16, 16), np.uint8))
    with pytest.raises(ContractError, match="expected pixels above 0"):
        parse_prompts([], [], [str(tmp_path / "m.png")])


@pytest.mark.parametrize(
    ("boxes", "points", "message"),
    [
        (["1,2,3"], [], "--box: expected x0,y0,x1,y1, got '1,2,3'"),
        (["5,5,5,9"], [], "box: expected x1 > x0"),
        (["a,b,c,d"], [], "expected numbers with commas"),
        ([], ["1"], "--point: expected x,y or x,y,label"),
        ([], ["1,2,2"], "--point: expected x,y or x,y,label"),
        ([], ["nan,2"], "point: expected finite coordinates"),
        ([], ["0:1,2"], "object id: expected 1 to 255, got 0"),
        ([], ["256:1,2"], "object id: expected 1 to 255"),
        ([], ["1,1"] * 9, "at most 8 slots"),
        (["0,0,1,1", "0,0,2,2"], [], "object 1 in frame 0: expected one box or one mask, got 2 boxes"),
        ([], [], "expected a --box, --point or --mask, got none"),
        ([], ["3:"], "expected \\[N:\\]VALUE"),
    ],
)
def test_malformed_prompts_are_refused(boxes: list[str], points: list[str], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        parse_prompts(boxes, points, [])


def test_prompts_after_the_end_are_refused_where_the_end_is_known() -> None:
    prompts = parse_prompts([], ["1,2", "1,2@8"], [])
    check_reachable(prompts, stop=9)
    check_reachable(prompts, stop=None)
    with pytest.raises(ContractError, match="expected a frame up to 7, got 8"):
        check_reachable(prompts, stop=8)
