"""`sam2lite report` from the arguments to the page, with the scripted engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.media.clips import write_davis

FAST = ("--engine", "scripted", "--size", 256)
Run = Callable[..., Call]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_davis(tmp_path / "tiny", ["a"], frames=5)


def test_evaluation_becomes_a_page_with_its_masks(sam2lite: Run, data: Path, tmp_path: Path) -> None:
    result, masks, out = tmp_path / "r.json", tmp_path / "m", tmp_path / "r.html"
    call = sam2lite("eval", "--data", data, "--json", result, "--save-masks", masks, "--memory-cells", *FAST)
    assert call.status == 0, call.err
    call = sam2lite("report", result, "--data", data, "--masks", masks, "--out", out, "--title", "Squares")
    assert call.status == 0, call.err
    assert f"{out}: " in call.out.replace("\n", "")
    html = out.read_text()
    assert "<title>Squares</title>" in html
    assert html.count('class="outline s0" data-layer="1"') == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.json",), "nowhere.json: expected a file, got no such file"),
        ((), "Missing argument"),
    ],
)
def test_wrong_calls_write_nothing(sam2lite: Run, tmp_path: Path, arguments: tuple[object, ...], message: str) -> None:
    call = sam2lite("report", *arguments, "--out", tmp_path / "r.html")
    assert (call.status, message in call.err) == (2, True)
    assert not (tmp_path / "r.html").exists()


def test_page_needs_an_existing_folder(sam2lite: Run, data: Path, tmp_path: Path) -> None:
    sam2lite("eval", "--data", data, "--json", tmp_path / "r.json", *FAST)
    call = sam2lite("report", tmp_path / "r.json", "--out", tmp_path / "no" / "r.html")
    assert (call.status, "expected a place to write" in call.err) == (2, True)
