"""`sam2lite train` from the arguments to the checkpoint: stopped, interrupted, resumed, and wrong calls."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.cli.conftest import Call
from tests.repository import ROOT
from tests.training.synthetic_data import write_data

Run = Callable[..., Call]

RECIPE = """
name = "short"
student = "nano"
precision = "fp32"
stem = "random"
batch_clips = 1
warmup_steps = 2
hold_out = []
[[phases]]
clips = {clips}
frames = 2
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "short.toml"
    path.write_text(RECIPE.format(clips=3))
    return path


def steps_saved(out: Path) -> int:
    with safe_open(out / "state.safetensors", framework="pt") as file:
        return int(file.metadata()["step"])


def test_stopped_run_prints_the_line_that_goes_on_with_it(
    sam2lite: Run, data: Path, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a run"
    threads = torch.get_num_threads()
    arguments = ("train", "--recipe", recipe, "--out", out, "--data", data, "--threads", 1)
    call = sam2lite(*arguments, "--workers", 0, "--log-every", 1, "--stop-after", 2)
    assert call.status == 0, call.err
    assert call.out.splitlines()[0] == f"2 of 3 steps: {out}/student.safetensors"
    assert call.err.splitlines()[0] == "begins after step 0 of 3"
    assert "step 2 of 3: loss " in call.err
    assert steps_saved(out) == 2
    line = call.out.splitlines()[1].removeprefix("go on with: ")
    assert line == shlex.join([*map(str, ("sam2lite", *arguments)), "--workers", "0", "--log-every", "1", "--resume"])
    call = sam2lite(*shlex.split(line)[1:])
    assert (call.status, call.out) == (0, f"3 of 3 steps: {out}/student.safetensors\n")
    assert call.err.splitlines()[0] == "begins after step 2 of 3"
    assert steps_saved(out) == 3
    torch.set_num_threads(threads)


def test_interrupt_saves_finished_steps_prints_the_line_and_exits_with_130(data: Path, tmp_path: Path) -> None:
    recipe, out = tmp_path / "long.toml", tmp_path / "run"
    recipe.write_text(RECIPE.format(clips=500))
    command = [sys.executable, "-m", "sam2lite_mobile.cli.main", "train", "--recipe", recipe, "--out", out]
    process = subprocess.Popen(
        [*map(str, command), "--data", str(data), "--threads", "1", "--workers", "1", "--log-every", "1"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    while not process.stderr.readline().startswith("step 1 "):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the worker gets it too
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    steps = steps_saved(out)
    assert 1 <= steps <= 3
    assert output.splitlines()[0] == f"{steps} of 500 steps: {out}/student.safetensors"
    assert output.splitlines()[1].startswith(f"go on with: sam2lite train --recipe {recipe} --out {out} --data {data}")
    assert list(out.glob(".*")) == []


def test_wrong_calls_are_one_line_and_leave_no_folder(sam2lite: Run, data: Path, recipe: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    bad = tmp_path / "bad.toml"
    bad.write_text(RECIPE.format(clips=0))
    for arguments, message in (
        (("--recipe", "nano_gpu", "--data", data), "recipe: expected"),
        (("--recipe", bad, "--data", data), "clips >= 1"),
        (("--recipe", recipe, "--data", tmp_path / "none"), f"got no such folder: {tmp_path}/none; set SAM2LITE_DATA"),
        (("--recipe", recipe, "--data", full), "training videos: expected data sets in"),
        (("--recipe", recipe, "--data", data, "--validate-every", 1), "validation: expected held-out sequences"),
        (("--recipe", recipe, "--data", data, "--out", full), "a new or empty folder, got files; add --resume"),
    ):
        call = sam2lite("train", "--out", tmp_path / "run", *arguments)
        assert call.status == 2
        assert message in call.err
        assert call.err.splitlines()[-1].startswith("sam2lite: ")
        assert "Traceback" not in call.err
        assert not (tmp_path / "run").exists()
    assert [path.name for path in full.iterdir()] == ["notes.txt"]


def test_default_data_folder_is_that_of_the_variable(
    sam2lite: Run, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAM2LITE_DATA", str(tmp_path / "nowhere"))
    call = sam2lite("train", "--recipe", recipe, "--out", tmp_path / "run")
    assert (call.status, "training data: expected a folder with train/, got none" in call.err) == (2, True)
    (tmp_path / "nowhere").mkdir()
    call = sam2lite("train", "--recipe", recipe, "--out", tmp_path / "run")
    assert f"training videos: expected data sets in {tmp_path}/nowhere, got none" in call.err


@pytest.mark.parametrize("missing", ["torch", "msgspec", "cv2"])
def test_missing_extra_is_an_error_with_the_install_line(missing: str, tmp_path: Path) -> None:
    script = (
        f"import sys\nsys.modules[{missing!r}] = None\nfrom sam2lite_mobile.cli.main import main\n"
        f"sys.exit(main(['train', '--recipe', 'nano_cpu', '--out', {str(tmp_path / 'run')!r}]))"
    )
    call = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert call.returncode == 2
    assert missing in call.stderr
    assert "pip install 'sam2lite-mobile[train]'" in call.stderr
    assert call.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
