"""The learning curve: drawn from the log that a run leaves, the same bytes each time."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2lite_mobile.training.learning_curve import CURVE_NAME, running_mean, write_learning_curve
from tests.training.short_runs import short_recipe


def write_log(folder: Path, *, scored: bool) -> None:
    lines: list[dict[str, Any]] = [{"step": s, "loss": 1 / s, "last_iou": 1 - 1 / s} for s in range(1, 6)]
    lines += [{"step": 5, "held_out_j": 0.61, "held_out": {"a": 0.61}}] if scored else []
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("scored", [False, True])
def test_curve_shows_phases_and_held_out_scores(tmp_path: Path, scored: bool) -> None:
    write_log(tmp_path, scored=scored)
    recipe = short_recipe()
    path = write_learning_curve(tmp_path, recipe, steps=5)
    assert path == tmp_path / CURVE_NAME
    text = path.read_text()
    assert f"{recipe.phases[0].frames} frames" in text
    assert ("held-out sequences" in text) is scored
    write_learning_curve(tmp_path, recipe, steps=5)
    assert path.read_text() == text


def test_nothing_is_drawn_without_lines_or_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert write_learning_curve(tmp_path, short_recipe(), steps=5) is None
    write_log(tmp_path, scored=False)
    original = builtins.__import__

    def refuse(name: str, *arguments: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert write_learning_curve(tmp_path, short_recipe(), steps=5) is None
    assert not (tmp_path / CURVE_NAME).exists()


def test_running_mean_keeps_a_constant_and_the_ends() -> None:
    assert running_mean(np.full(50, 3.0)) == pytest.approx(np.full(50, 3.0))
    values = np.arange(100.0)
    smooth = running_mean(values)
    assert smooth[50] == 50
    assert smooth[0] == pytest.approx(values[:3].mean())
