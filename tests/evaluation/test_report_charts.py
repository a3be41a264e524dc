"""Axes, charts, players and pictures of the report."""

from __future__ import annotations

import base64
import math
import re
import xml.etree.ElementTree as ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2lite_mobile.evaluation.report.axes import axis, number, padded, round_ticks, signed
from sam2lite_mobile.evaluation.report.dot_chart import Dot, Row, dot_chart
from sam2lite_mobile.evaluation.report.line_chart import POINTS_MAX, Line, line_chart
from sam2lite_mobile.evaluation.report.pictures import data_uri, outline_path, picture_size
from sam2lite_mobile.evaluation.report.player import chosen_frames, lowest
from tests.evaluation.report_inputs import HOSTILE


def parsed(svg: str) -> ElementTree.Element:
    """A chart as a tree; raises where it is not well-formed."""
    return ElementTree.fromstring(svg)  # noqa: S314 - our own text


def test_ticks_are_round_and_lie_inside() -> None:
    assert round_ticks(0, 100, count=5) == (0, 20, 40, 60, 80, 100)
    assert round_ticks(0, 7, count=10, whole=True) == (0, 1, 2, 3, 4, 5, 6, 7)
    assert round_ticks(-1.5, 1.2, count=3) == (-1, 0, 1)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 10))
def test_ticks_of_any_range_are_few_and_inside(low: float, length: float, count: int) -> None:
    ticks = round_ticks(low, low + length, count=count)
    assert len(ticks) <= 2 * count + 1
    assert all(low - 1e-6 * length <= tick <= low + length * (1 + 1e-6) for tick in ticks)


def test_axis_places_its_ends_and_takes_a_range_without_length() -> None:
    found = axis(10, 20, start=100, end=300)
    assert (found.place(10), found.place(15), found.place(20)) == (100, 200, 300)
    flat = axis(3, 3, start=0, end=10)
    assert (flat.low, flat.high, flat.place(3)) == (2.5, 3.5, 5)
    assert padded([]) == (0, 1)
    assert padded([math.nan, 2, 4], floor=0) == (0, pytest.approx(4.24))
    assert padded([1e300, math.inf, 2], floor=0) == (0, pytest.approx(2.12))
    assert padded([-3, -2], floor=0) == (0, 0.5)


def test_numbers_have_a_true_minus_and_no_minus_zero() -> None:
    assert (number(-1.25, decimals=1), number(-0.04), number(12345.6)) == ("\u22121.2", "0.0", "12\u202f345.6")
    assert (signed(1.25, decimals=2), signed(-3.0), signed(0.01), signed(0)) == ("+1.25", "\u22123.0", "0.0", "0.0")


def test_line_is_broken_where_a_value_is_missing() -> None:
    chart = line_chart("t", [Line("a", [0, 1, 2, 3], [1, math.nan, 1, 2], 0)], x_label="frame", y_range=(0, 2))
    (path,) = re.findall(r'<path class="line s0" d="([^"]*)"', chart.svg)
    assert (path.count("M"), path.count("L")) == (2, 1)
    parsed(chart.svg)


def test_steps_go_along_the_axes() -> None:
    chart = line_chart("t", [Line("a", [0, 1], [0, 1], 2, step=True)], x_label="frame")
    (path,) = re.findall(r'<path class="line s2" d="([^"]*)"', chart.svg)
    assert re.fullmatch(r"M[\d. ]+H[\d.]+V[\d.]+", path)


def test_long_line_keeps_its_peak() -> None:
    values = [0.0] * 9000
    values[4321] = 5.0
    chart = line_chart("t", [Line("a", range(9000), values)], x_label="frame", y_range=(0, 5))
    (path,) = re.findall(r'<path class="line s0" d="([^"]*)"', chart.svg)
    points = re.findall(r"[ML]([\d.]+) ([\d.]+)", path)
    assert len(points) <= POINTS_MAX + 2
    assert min(float(y) for _, y in points) == 10.0  # the top of the chart


def test_charts_escape_every_name() -> None:
    lines = line_chart(HOSTILE, [Line(HOSTILE, [0, 1], [0, 1])], x_label=HOSTILE)
    dots = dot_chart(HOSTILE, [Row(HOSTILE, (Dot(1, text=HOSTILE),))], x_label=HOSTILE)
    for svg in (lines.svg, dots.svg):
        assert "<script" not in svg
        assert "<img" not in svg
        parsed(svg)


def test_dots_lie_where_their_values_are_and_ranges_span_theirs() -> None:
    chart = dot_chart("t", [Row("a", (Dot(50, 1, 25, 75, 60, "50"),))], x_label="x", x_range=(0, 100))
    root = parsed(chart.svg)
    (circle,) = root.iter("circle")
    (bar,) = [each for each in root.iter("line") if each.get("class") == "range s1"]
    middle = (float(bar.get("x1", "")) + float(bar.get("x2", ""))) / 2
    assert float(circle.get("cx", "")) == pytest.approx(middle, abs=0.1)


def test_frames_are_thinned_evenly_and_the_wanted_ones_stay() -> None:
    assert chosen_frames(5, limit=5) == [0, 1, 2, 3, 4]
    found = chosen_frames(101, limit=5, always=[33, 200, -1])
    assert found == [0, 25, 33, 50, 75, 100]


def test_worst_frames_are_apart_and_gaps_are_no_scores() -> None:
    values = [math.nan, 0.5, 0.1, 0.2, 0.9, 0.3]
    assert lowest(values, count=2) == [2, 5]
    assert lowest(values, count=9, apart=1) == [2, 3, 5, 1, 4]
    assert lowest([math.nan]) == []


def test_outline_lies_on_the_mask_in_pixels_of_the_picture() -> None:
    labels = np.zeros((200, 832), np.uint8)
    labels[40:80, 200:400] = 7
    assert picture_size(832, 200) == (416, 100)
    path = outline_path(labels)
    points = np.array(re.findall(r"([\d.]+) ([\d.]+)", path), float)
    assert points.min(axis=0) == pytest.approx([100, 20], abs=0.5)
    assert points.max(axis=0) == pytest.approx([200, 40], abs=0.5)
    assert len(points) == 4
    assert outline_path(np.zeros_like(labels)) == ""


def test_hole_of_a_mask_is_an_outline_of_its_own() -> None:
    labels = np.zeros((60, 60), np.uint8)
    labels[10:50, 10:50] = 1
    labels[20:40, 20:40] = 0
    assert outline_path(labels).count("M") == 2


def test_picture_is_a_small_jpeg_and_never_enlarged() -> None:
    for width, expected in ((832, (100, 416)), (64, (200, 64))):
        uri = data_uri(np.full((200, width, 3), (200, 40, 10), np.uint8))
        head, _, data = uri.partition(",")
        assert head == "data:image/jpeg;base64"
        image = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert image.shape[:2] == expected
        assert np.abs(image[0, 0].astype(int) - (10, 40, 200)).max() < 8


def test_ticks_of_frames_are_whole_and_ticks_of_levels_are_those_given() -> None:
    assert round_ticks(0, 19, count=8, whole=True) == (0, 5, 10, 15)
    assert round_ticks(0, 3, count=8, whole=True) == (0, 1, 2, 3)
    chart = line_chart("t", [Line("a", [0, 1], [256, 416], step=True)], x_label="frame", y_ticks=(256, 416))
    labels = [each.text for each in parsed(chart.svg).iter("text") if each.get("text-anchor") == "end"]
    assert labels[:2] == ["256", "416"]
