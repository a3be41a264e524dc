"""The main job on a toy student: verified, reproducible, skipped when current, and never half-written."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from converters import limits
from converters.build import _remove_dead_builds, build
from converters.options import BuildOptions, Reporter
from converters.registry import open_target
from converters.target import Target
from converters.worker import GraphOutcome
from sam2lite_mobile import contract
from sam2lite_mobile.engines.coreml import CoreMLEngine
from sam2lite_mobile.errors import ContractError, GateError
from sam2lite_mobile.package.tree import list_files
from sam2lite_mobile.package.verify import verify_package
from tests.converters.conftest import FRAMES, SIZE, Toy
from tests.repository import ROOT


def options_of(toy: Toy, out: Path) -> BuildOptions:
    return BuildOptions(checkpoint=toy.checkpoint, out=out, sizes=(SIZE,), accuracy_frames=FRAMES, workers=2)


def test_built_package_verifies_and_runs(built: Path, toy: Toy) -> None:
    report = verify_package(built)
    assert report.passed, [check.what for check in report.failures]
    engine = CoreMLEngine(built, runtime="interpreter")
    assert engine.sizes == (SIZE,)
    assert engine.bank_tokens == contract.BANK_TOKENS
    spec_id = contract.graph_id("mask_decoder", SIZE)
    assert set(engine.run(spec_id, toy.inputs[spec_id])) == {"mask_logits", "quality", "visibility"}


def test_manifest_holds_both_steps_of_the_gates(built: Path) -> None:
    gates = json.loads((built / "manifest.json").read_text())["gates"]
    graphs = {(gate["graph"], gate["precision"]) for gate in gates if gate["kind"] == "graph"}
    for spec in contract.all_graph_specs((SIZE,)):
        assert {(spec.id, "fp32"), (spec.id, "fp16")} <= graphs
    clips = [(gate["measure"], gate["size"]) for gate in gates if gate["kind"] == "clip"]
    # The sample clip at each size, then the annotated sequences (here the sample clip as a whole) at the largest.
    chained = [("worst_mask_iou", SIZE), ("median_mask_iou", SIZE)]
    assert clips == [*chained, *chained, ("jf_lost_points", SIZE)]
    assert all(gate["passed"] for gate in gates)


def test_current_package_is_not_built_again(built: Path, toy: Toy) -> None:
    notes: list[str] = []
    before = list_files(built)
    started = time.monotonic()
    build(open_target("coreml"), options_of(toy, built), Reporter(note=notes.append))
    assert "up to date" in notes[0]
    assert list_files(built) == before
    assert time.monotonic() - started < 15


@pytest.mark.slow
def test_second_build_of_one_checkpoint_is_byte_identical(built: Path, toy: Toy, tmp_path: Path) -> None:
    """In another process, with another hash seed and another number of workers."""
    out = tmp_path / "again"
    command = [sys.executable, "-m", "converters", "coreml", "--checkpoint", str(toy.checkpoint), "--sizes", str(SIZE)]
    command += ["--accuracy-frames", str(FRAMES)]
    environment = os.environ | {"PYTHONHASHSEED": "7", "SAM2LITE_DATA": str(tmp_path / "none"), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--out", str(out), "--workers", "1"], check=True, cwd=ROOT, env=environment)
    first, second = list_files(built), list_files(out)
    differing = [a.path for a, b in zip(first, second, strict=True) if a != b and not a.path.endswith("manifest.json")]
    assert not differing
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (built, out)]
    for manifest in manifests:  # the clips to gate are an option of the build, and part of its key
        del manifest["build_key"], manifest["self_sha256"]
    assert manifests[0] == manifests[1]


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [2.0, 6.0, 10.0, 14.0, 18.0])
def test_killed_build_leaves_the_old_package(built: Path, toy: Toy, seconds: float) -> None:
    before = list_files(built)
    command = [sys.executable, "-m", "converters", "coreml", "--checkpoint", str(toy.checkpoint), "--sizes", str(SIZE)]
    command += ["--accuracy-frames", str(FRAMES)]
    child = subprocess.Popen(
        [*command, "--out", str(built), "--force"], cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL
    )
    time.sleep(seconds)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert list_files(built) == before or child.returncode == 0
    assert verify_package(built).passed


def test_working_folders_of_killed_builds_are_removed_and_of_running_ones_kept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for owner in (dead.pid, os.getpid()):
        (tmp_path / f".build-{owner}-x").mkdir()
    _remove_dead_builds(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f".build-{os.getpid()}-x"]


def taken_from(package: Path) -> Callable[..., list[GraphOutcome]]:
    """In the place of a build's conversions: the graphs of a package, whose own gates are behind them."""

    def convert_all(target: Target, options: BuildOptions, clip: object, folder: Path, *_: object, **__: object) -> Any:
        outcomes = []
        for spec in contract.all_graph_specs(options.sizes, bank_tokens=options.bank_tokens):
            (model,) = package.rglob(f"{spec.id}{target.suffix}")
            outcomes.append(GraphOutcome(spec.id, Path(shutil.copytree(model, folder / model.name)), (), 0.0))
        return outcomes

    return convert_all


def test_missed_gate_leaves_the_old_package(built: Path, toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    before = list_files(built)
    monkeypatch.setattr("converters.build._convert_all", taken_from(built))
    monkeypatch.setitem(limits.CLIP_LIMITS, "fp16", 1.1)
    with pytest.raises(GateError, match=r"limit at least 1\.1"):
        build(open_target("coreml"), options_of(toy, built), Reporter())
    assert list_files(built) == before
    assert not list(built.parent.glob(".build-*"))


def test_recipe_that_a_target_lacks_is_refused_before_anything_is_read(toy: Toy, tmp_path: Path) -> None:
    options = replace(options_of(toy, tmp_path / "out"), recipe="p6", checkpoint=tmp_path / "absent.safetensors")
    with pytest.raises(ContractError, match="onnx in p6: expected fp32 or fp16 or w8 or w8a8, got p6"):
        build(open_target("onnx"), options, Reporter())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sizes", "300"], "ascending, out of"),
        (["--sizes", "a"], "integers"),
        (["--recipe", "w3"], "weights of 3 bits; choose w8 or w8a8"),
        (["--gate-frames", "8"], "at least 24"),
        (["--accuracy-frames", "23"], "at least 24"),
        (["--checkpoint", "absent.safetensors"], "check the path"),
    ],
)
def test_wrong_call_is_one_line_and_status_two(arguments: list[str], words: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "converters", "coreml", "--out", str(tmp_path / "out"), *arguments]
    if "--checkpoint" not in arguments:
        command += ["--checkpoint", str(tmp_path / "x.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_options_refuse_sizes_out_of_order(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="ascending"):
        BuildOptions(checkpoint=tmp_path, out=tmp_path, sizes=(512, 256))
