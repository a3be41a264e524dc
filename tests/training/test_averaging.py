"""The mean of checkpoints: of their weights, with facts about all parts; unlike students are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sam2lite_mobile.cli.main import main
from sam2lite_mobile.errors import CheckpointError
from sam2lite_mobile.student.checkpoint import checkpoint_hash, load_student, read_header, save_student
from sam2lite_mobile.student.student import build_student
from sam2lite_mobile.training.averaging import averaged_student


def saved(path: Path, *, size: str = "nano", seed: int = 0, **facts: str) -> Path:
    torch.manual_seed(seed)
    save_student(build_student(size), path, facts=facts)
    return path


def test_mean_of_three_with_the_facts_of_all(tmp_path: Path) -> None:
    paths = [
        saved(tmp_path / f"{seed}.safetensors", seed=seed, recipe=f"r{seed}", steps="10", clips=str(seed), licence="x")
        for seed in range(3)
    ]
    out = tmp_path / "mean.safetensors"
    with pytest.raises(SystemExit) as done:
        main(["average", *map(str, paths), "--out", str(out)])
    assert done.value.code == 0
    states = [load_student(path).state_dict() for path in paths]
    for name, value in load_student(out).state_dict().items():
        wanted = sum(state[name].float() for state in states) / 3
        assert torch.allclose(value.float(), wanted, rtol=1e-3, atol=1e-6), name  # float16 in the file
    facts = read_header(out)[1]
    assert (facts["recipe"], facts["steps"], facts["clips"]) == ("r0 + r1 + r2", "10 + 10 + 10", "0 + 1 + 2")
    assert facts["averaged"].split(" + ") == [checkpoint_hash(path) for path in paths]
    assert facts["licence"] == "x"


def test_a_fact_on_which_the_parts_differ_is_left_out(tmp_path: Path) -> None:
    paths = [saved(tmp_path / "a.safetensors", token_gate="start"), saved(tmp_path / "b.safetensors")]
    assert "token_gate" not in averaged_student(paths)[1]


def test_mean_of_a_checkpoint_with_itself_is_itself(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.safetensors")
    mean, _ = averaged_student([path, path])
    for name, value in load_student(path).state_dict().items():
        assert torch.equal(mean.state_dict()[name], value)


def test_one_checkpoint_or_unlike_ones_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nano = saved(tmp_path / "nano.safetensors")
    with pytest.raises(CheckpointError, match="expected two checkpoints or more, got 1"):
        averaged_student([nano])
    tiny = saved(tmp_path / "tiny.safetensors", size="tiny")
    out = tmp_path / "out.safetensors"
    assert main(["average", str(nano), str(tiny), "--out", str(out)]) == 2
    assert "average students that are alike" in capsys.readouterr().err
    assert not out.exists()
