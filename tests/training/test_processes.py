"""Several processes train what one would have trained: shares of a batch, sums of gradients, files of the first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.training.loop import train
from sam2lite_mobile.training.processes import Processes, computes_bfloat16, open_processes
from sam2lite_mobile.training.recipe import Phase
from sam2lite_mobile.training.run import Run
from sam2lite_mobile.training.run_log import LOG_NAME
from sam2lite_mobile.training.run_options import RunOptions
from tests.repository import ROOT
from tests.training.short_runs import read_entries, short_recipe

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = 20
FIRST_STEPS = 6
TRAIN_IN_ALL_PROCESSES = """
import sys
from pathlib import Path
import torch
from sam2lite_mobile.training.loop import train
from sam2lite_mobile.training.processes import open_processes
from sam2lite_mobile.training.run_options import RunOptions
from tests.training.test_processes import shared_recipe

if __name__ == "__main__":
    torch.set_num_threads(1)
    out, data = map(Path, sys.argv[1:])
    train(shared_recipe(), RunOptions(out=out, data_root=data, workers=0, log_every=1), processes=open_processes("cpu"))
"""


def shared_recipe() -> Any:
    """Twenty steps of two clips of three frames, in float32: sums in another order differ by rounding alone."""
    phases = (Phase(clips=2 * STEPS, frames=3),)
    return short_recipe(phases=phases, batch_clips=2, precision="fp32", learning_rate=1e-4)


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / LOG_NAME).read_text().splitlines()]


@pytest.fixture(scope="module")
def alone(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process that takes whole batches."""
    out = tmp_path_factory.mktemp("alone") / "run"
    train(shared_recipe(), RunOptions(out=out, data_root=small_data, workers=0, log_every=1))
    return out


def assert_trained_alike(folder: Path, alone: Path) -> None:
    assert len(losses(alone)) == STEPS
    assert losses(folder) == pytest.approx(losses(alone), abs=1e-4)
    tensors, others = (read_entries(each / "state.safetensors")[0] for each in (folder, alone))
    name = "student.mask_decoder.queries"
    assert (tensors[name] - others[name]).abs().max() < 0.2 * STEPS * 1e-4  # far less than Adam has moved them


def test_two_processes_train_like_one(alone: Path, small_data: Path, tmp_path: Path) -> None:
    script, out = tmp_path / "train.py", tmp_path / "run"
    script.write_text(TRAIN_IN_ALL_PROCESSES)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, str(script), str(out), str(small_data)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert_trained_alike(out, alone)


def test_clips_one_at_a_time_train_like_whole_batches(alone: Path, small_data: Path, tmp_path: Path) -> None:
    options = RunOptions(
        out=tmp_path / "run", data_root=small_data, workers=0, log_every=1, micro_clips=1, stop_after=FIRST_STEPS
    )
    train(shared_recipe(), options)
    assert losses(options.out) == pytest.approx(losses(alone)[:FIRST_STEPS], abs=1e-4)


class OneOfMany(Processes):
    """A process that is told its place, and that has no others to talk to."""

    def __init__(self, rank: int, count: int) -> None:
        super().__init__()
        self.rank, self.count = rank, count


def test_rows_are_shared_out_evenly_and_each_goes_to_one_process() -> None:
    assert [OneOfMany(rank, 3).rows(6) for rank in range(3)] == [range(2), range(2, 4), range(4, 6)]
    with pytest.raises(ContractError, match="expected a multiple of 4 processes, got 6; change batch_clips"):
        OneOfMany(0, 4).rows(6)


def test_process_alone_leads_and_sums_to_itself() -> None:
    alone = Processes()
    tensor = torch.tensor([1.0, 2.0])
    alone.add_up([tensor])
    assert (alone.leads, alone.rows(4), tensor.tolist()) == (True, range(4), [1.0, 2.0])
    assert alone.add_up_numbers({"a": 0.1}) == {"a": 0.1}  # not through float32
    assert (alone.any(True), alone.any(False)) == (True, False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("device", ["cuda", "tpu"])
def test_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(ContractError, match="expected auto or cpu or cuda"):
        open_processes(device)


@pytest.mark.parametrize(("computed", "precision"), [(True, "bf16"), (False, "fp32")])
def test_bfloat16_is_used_only_where_the_processor_computes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, computed: bool, precision: str
) -> None:
    monkeypatch.setattr("sam2lite_mobile.training.run.computes_bfloat16", lambda device: computed)
    assert Run(short_recipe(precision="bf16"), tmp_path).precision == precision
    assert Run(short_recipe(precision="fp32"), tmp_path).precision == "fp32"


@pytest.mark.parametrize(("machine", "tiles", "expected"), [("x86_64", True, True), ("x86_64", False, False)])
def test_an_x86_processor_needs_tiles_for_bfloat16(
    monkeypatch: pytest.MonkeyPatch, machine: str, tiles: bool, expected: bool
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr("torch.ops.mkldnn._is_mkldnn_bf16_supported", lambda: not tiles, raising=False)
    assert computes_bfloat16(torch.device("cpu")) is expected
