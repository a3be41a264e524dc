"""`sam2lite compare`: the difference of two result files, and what cannot be compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sam2lite_mobile.evaluation.conditions import Conditions, EngineInfo, this_machine
from sam2lite_mobile.evaluation.results import (
    SCHEMA_VERSION,
    EvaluationResult,
    ObjectScores,
    sequence_result,
    summarize,
    write_result,
)
from tests.cli.conftest import Call

Run = Callable[..., Call]


def write(path: Path, scores: dict[str, float], *, finished: bool = True, **changes: Any) -> Path:
    sequences = [
        sequence_result(name, [ObjectScores(1, 0, [value] * 4, [value] * 4)], shape=(4, 4), latency_ms={})
        for name, value in scores.items()
    ]
    conditions = Conditions(
        package_version="1",
        data="d",
        split="dev",
        sequences=list(scores),
        prompt="mask",
        size=256,
        window=8,
        budget=384,
        selection="gate",
        selection_seed=None,
        max_frames=None,
        engine=EngineInfo("torch", "fp32", 1, "2", "nano", None),
        machine=this_machine(),
    )
    conditions = msgspec.structs.replace(conditions, **changes)
    summary = summarize(sequences) if finished else None
    write_result(path, EvaluationResult(SCHEMA_VERSION, conditions, sequences, summary))
    return path


def test_differences_are_shown_with_an_interval(sam2lite: Run, tmp_path: Path) -> None:
    before = write(tmp_path / "nano.json", {"a": 0.5, "b": 0.7})
    after = write(tmp_path / "tiny.json", {"a": 0.6, "b": 0.75}, size=512)
    call = sam2lite("compare", before, after)
    assert call.status == 0, call.err
    for text in ("nano", "tiny", "+10.0", "+5.0", "+7.5", "change +7.50 (95%: +5.00 to +10.00): told apart from none"):
        assert text in call.out
    same = sam2lite("compare", before, before)
    assert "+0.00 (95%: +0.00 to +0.00): not told apart" in same.out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "val"}, "split: expected dev, got val"),
        ({"max_frames": 12}, "max_frames: expected None, got 12"),
        ({"finished": False}, "expected a finished evaluation"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    sam2lite: Run, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    before = write(tmp_path / "a.json", {"a": 0.5})
    call = sam2lite("compare", before, write(tmp_path / "b.json", {"a": 0.6}, **changes))
    assert (call.status, message in call.err) == (2, True), call.err
    missing = sam2lite("compare", before, tmp_path / "none.json")
    assert missing.status == 2
