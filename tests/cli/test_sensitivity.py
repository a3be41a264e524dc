"""`sam2lite sensitivity` from the arguments to the ranking."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sam2lite_mobile.student.checkpoint import save_student
from tests.cli.conftest import Call
from tests.media.clips import write_davis
from tests.training.short_runs import small_student

Run = Callable[..., Call]


@pytest.fixture
def arguments(tmp_path: Path) -> tuple[object, ...]:
    save_student(small_student(), tmp_path / "s.safetensors")
    data = write_davis(tmp_path / "d", ["a", "b"], frames=3)
    call = ("sensitivity", "--checkpoint", tmp_path / "s.safetensors", "--json", tmp_path / "r.json", "--data", data)
    return (*call, "--frames", 3)


def test_ranking_is_written_and_shown(sam2lite: Run, arguments: tuple[object, ...], tmp_path: Path) -> None:
    call = sam2lite(*arguments, "--sequences", "b", "--layers", "image_encoder.e", "--recipe", "w8")
    assert call.status == 0, call.err
    result = json.loads((tmp_path / "r.json").read_text())
    assert (result["recipe"], result["sequences"], result["frames"]) == ("w8", ["b"], 3)
    assert {cost["layer"] for cost in result["layers"]} == {"image_encoder.enter", "image_encoder.exit"}
    levels = [cost["logits_db"] for cost in result["layers"]]
    assert levels == sorted(levels)
    assert [cost["layer"] for cost in result["together"]] == ["every layer", "the policy"]
    assert "image_encoder.exit" in call.out


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("--recipe", "fp16"), "--recipe: expected w8 or w8a8"),
        (("--layers", "("), "a regular expression"),
        (("--layers", "nothing_like_it"), "--layers: expected one of"),
        (("--frames", "4"), "expected 4 frames, got 3"),
        (("--sequences", "c"), "--sequences"),
    ],
)
def test_wrong_calls_measure_nothing(
    sam2lite: Run, arguments: tuple[object, ...], tmp_path: Path, wrong: tuple[str, ...], message: str
) -> None:
    call = sam2lite(*arguments, *wrong)
    assert (call.status, message in call.err) == (2, True), call.err
    assert not (tmp_path / "r.json").exists()
