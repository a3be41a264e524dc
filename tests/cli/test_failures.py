"""`sam2lite failures` from the arguments to the files, with the scripted engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sam2lite_mobile.evaluation.failures.cases import Kind
from sam2lite_mobile.evaluation.failures.run import read_failures
from tests.cli.conftest import Call
from tests.media.clips import write_davis

Run = Callable[..., Call]


def test_suite_is_made_and_measured(sam2lite: Run, tmp_path: Path) -> None:
    data = write_davis(tmp_path / "d", ["square"], frames=5)
    made = sam2lite("failures", "make", "--data", data, "--out", tmp_path / "s", "--kinds", "lookalike,cut")
    assert made.status == 0, made.err
    assert "2 sequences, 104 frames" in made.out
    out, table = tmp_path / "r.json", tmp_path / "t.md"
    run = sam2lite(
        "failures",
        "run",
        "--suite",
        tmp_path / "s",
        "--json",
        out,
        "--table",
        table,
        "--engine",
        "scripted",
        "--min-quality",
        0.001,
        "--fine",
    )
    assert run.status == 0, run.err
    result = read_failures(out)
    assert (result.min_quality, result.fine) == (0.001, True)
    assert "predicted IoU of 0.001 or more; tiny objects in a crop." in table.read_text()
    assert [row.kind for row in result.kinds] == [Kind.CUT, Kind.LOOKALIKE]
    cut, copy = result.cases
    assert (cut.returns, cut.switched_share) == (2, None)
    assert cut.false_share is not None
    assert copy.false_share is None
    assert copy.switched_share is not None
    assert "| cut | 1 |" in table.read_text()
    assert "| cut | 1 |" in run.out


def test_unknown_failure_is_a_wrong_call(sam2lite: Run, tmp_path: Path) -> None:
    call = sam2lite("failures", "run", "--suite", tmp_path, "--json", tmp_path / "r.json", "--kinds", "rain")
    assert call.status == 2
    assert "expected tiny, occlusion" in call.err
    assert "'rain'" in call.err


def test_folder_without_a_suite_is_a_wrong_call(sam2lite: Run, tmp_path: Path) -> None:
    call = sam2lite("failures", "run", "--suite", tmp_path, "--json", tmp_path / "r.json")
    assert call.status == 2
    assert "sam2lite failures make" in call.err
