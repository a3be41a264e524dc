"""The table of an ablation: means, spreads, differences by seed; and its files."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from sam2lite_mobile.errors import DataError
from sam2lite_mobile.evaluation.conditions import Machine
from sam2lite_mobile.training.ablation.outcome import (
    LARGEST_BYTES,
    SCHEMA_VERSION,
    Outcome,
    RunScore,
    markdown,
    read_score,
    rows,
    write_outcome,
)
from sam2lite_mobile.training.ablation.suites import DISTILLATION


def run(variant: str, seed: int, jf: float) -> RunScore:
    """A run with J 0.1 above and F 0.1 below its J&F."""
    return RunScore(variant, seed, "0" * 64, 480, 60.0, jf + 0.1, jf - 0.1, {"rhino": jf + 0.1})


def outcome(*runs: RunScore) -> Outcome:
    machine = Machine("Linux", "a processor", 2, "3.11")
    return Outcome(SCHEMA_VERSION, "distillation", "0.1", "2.13", 1, machine, ("rhino",), 256, 20, runs)


SIX = (
    run("full", 0, 0.60),
    run("full", 1, 0.64),
    run("no_teacher", 0, 0.55),
    run("no_teacher", 1, 0.57),
    run("fifo", 1, 0.66),
    run("no_readout", 2, 0.5),
)


def test_rows_give_mean_spread_and_the_mean_difference_between_runs_of_the_same_seed() -> None:
    full, no_readout, fifo, no_teacher = rows(DISTILLATION, SIX)
    assert (full.variant, full.seeds, full.mean) == ("full", 2, pytest.approx(62.0))
    assert full.spread == pytest.approx(8**0.5)  # of 60 and 64, with n - 1
    assert full.difference is None
    assert (no_teacher.mean, no_teacher.difference) == (pytest.approx(56.0), pytest.approx(-6.0))
    assert no_teacher.difference_spread == pytest.approx(2**0.5)  # of -5 and -7
    assert (fifo.seeds, fifo.spread, fifo.difference) == (1, 0, pytest.approx(2.0))  # against seed 1, not the mean
    assert no_readout.difference is None  # no full run has its seed


def test_table_is_in_the_order_of_the_suite_beside_the_methodology() -> None:
    text = markdown(DISTILLATION, outcome(*SIX))
    table = [line for line in text.splitlines() if line.startswith("|")][2:]
    assert table == [
        "| full | 2 | 62.0 | 2.8 |  |  |  |",
        "| without readout matching | 1 | 50.0 | 0.0 |  |  | -1.7 |",
        "| FIFO in place of the gate | 1 | 66.0 | 0.0 | +2.0 | 0.0 | -3.3 |",
        "| no teacher | 2 | 56.0 | 1.4 | -6.0 | 1.4 | -6.6 |",
    ]
    assert "6 runs of 480 clips, 6 minutes of training in all" in text
    assert "first-frame mask, 256 px, at most 20 frames of each, torch 2.13 on a processor, 1 thread a run" in text


def test_files_hold_every_run(tmp_path: Path) -> None:
    result = outcome(*SIX)
    data, table = write_outcome(tmp_path, DISTILLATION, result)
    assert (data.name, table.name) == ("distillation.json", "distillation.md")
    assert msgspec.json.decode(data.read_bytes(), type=Outcome) == result
    assert table.read_text() == markdown(DISTILLATION, result)


def test_score_of_a_run_is_read_as_it_was_written_and_broken_ones_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "score.json"
    path.write_bytes(msgspec.json.encode(SIX[0]))
    assert read_score(path) == SIX[0]
    path.write_bytes(msgspec.json.encode({"variant": "full"}))
    with pytest.raises(DataError, match="expected the score of a run"):
        read_score(path)
    path.write_bytes(b" " * (LARGEST_BYTES + 1))
    with pytest.raises(DataError, match="at most 1048576 bytes"):
        read_score(path)
