"""`sam2lite adaptive` from the arguments to the files, with the scripted engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from sam2lite_mobile.cli import adaptive
from sam2lite_mobile.evaluation.adaptive import sweep as sweeping
from sam2lite_mobile.evaluation.adaptive.latency_table import read_table, write_table
from sam2lite_mobile.evaluation.adaptive.under_load import UnderLoadResult
from tests.cli.conftest import Call
from tests.evaluation.adaptive_tables import round_table
from tests.media.clips import write_davis

Run = Callable[..., Call]
SCRIPTED = ("--engine", "scripted")


def test_table_has_a_row_for_every_size_and_window(sam2lite: Run, tmp_path: Path) -> None:
    call = sam2lite("adaptive", "table", "--json", tmp_path / "t.json", "--frames", 2, *SCRIPTED)
    assert call.status == 0, call.err
    table = read_table(tmp_path / "t.json")
    assert [(row.size, row.window) for row in table.rows][:3] == [(256, 2), (256, 8), (304, 2)]
    assert (len(table.rows), table.frames, table.objects, table.engine.name) == (12, 2, 1, "scripted")
    assert all("image_encoder" in row.stages_ms and "total" not in row.stages_ms for row in table.rows)
    assert "512 px, window 8: " in call.out


def test_sweep_writes_page_and_figures(sam2lite: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    from sam2lite_mobile.evaluation.adaptive import sweep_plot

    for module in (sweeping, sweep_plot):
        monkeypatch.setattr(module, "FACTORS", (0.0, 1.0))
    monkeypatch.setattr(sweeping, "LOADS", (1.5,))
    monkeypatch.setattr(sweeping, "PARTS", sweeping.PARTS[:2])
    monkeypatch.setattr(sweeping, "HEAT_MINUTES", 1)
    write_table(tmp_path / "t.json", round_table())
    call = sam2lite(
        "adaptive",
        "sweep",
        "--table",
        tmp_path / "t.json",
        "--report",
        tmp_path / "p.md",
        "--json",
        tmp_path / "s.json",
    )
    assert call.status == 0, call.err
    assert "gains as they are: settled after " in call.out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "p.md",
        "p_gains.svg",
        "p_stairs.svg",
        "s.json",
        "t.json",
    ]


def test_sweep_of_a_file_that_is_no_table_is_refused(sam2lite: Run, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("{}")
    call = sam2lite("adaptive", "sweep", "--table", tmp_path / "t.json")
    assert (call.status, "expected a table of sam2lite adaptive table" in call.err) == (2, True)
    call = sam2lite("adaptive", "sweep", "--json", tmp_path / "none" / "s.json")
    assert (call.status, "--json: expected a file in an existing folder" in call.err) == (2, True)


def test_shipped_table_is_there() -> None:
    assert read_table(adaptive.SHIPPED_TABLE).sizes[-1] == 512


def test_both_sides_run_under_load(sam2lite: Run, tmp_path: Path) -> None:
    data = write_davis(tmp_path / "tiny", ["a", "b"], frames=6)
    path = tmp_path / "r.json"
    arguments = ("adaptive", "load", "--data", data, "--json", path, "--quiet-frames", 2, "--loaded-frames", 3)
    call = sam2lite(*arguments, "--processes", 1, "--target-fps", 100_000, *SCRIPTED)
    assert call.status == 0, call.err
    result = msgspec.json.decode(path.read_bytes(), type=UnderLoadResult)
    assert (result.processes, result.target_fps, result.conditions.data) == (1, 100_000, "tiny")
    assert "settled frames on target: 0.0%, goal >= 95%: missed" in call.out
    checked = sam2lite(*arguments, "--processes", 1, "--target-fps", 100_000, "--check", *SCRIPTED)
    assert (checked.status, "expected >= " in checked.err or "expected <= " in checked.err) == (1, True)


def test_short_sequences_are_refused(sam2lite: Run, tmp_path: Path) -> None:
    data = write_davis(tmp_path / "tiny", ["a"], frames=6)
    call = sam2lite("adaptive", "load", "--data", data, "--json", tmp_path / "r.json", *SCRIPTED)
    assert (call.status, "frames of a: expected 45 or more, got 6" in call.err) == (2, True)
