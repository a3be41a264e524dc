"""A whole ExecuTorch package of a small student: built, verified, tracked with, damaged, and checked by its samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from executorch.extension.pybindings._C import _load_bundled_program_from_buffer

from converters import limits
from converters.build import build
from converters.options import BuildOptions, Reporter
from converters.registry import open_target
from sam2lite_mobile import contract
from sam2lite_mobile.contract import EXECUTORCH_PROGRAM, EXECUTORCH_SAMPLES
from sam2lite_mobile.engines import create_engine
from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.package.executorch_program import read_executorch_interface
from sam2lite_mobile.package.verify import verify_package
from tests.converters.conftest import FRAMES, SIZE, Ranges, Toy, calibrated

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def package(toy: Toy, ranges: Ranges, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    out = folder / "executorch"
    options = BuildOptions(
        checkpoint=calibrated(toy, ranges, folder),
        out=out,
        recipe="w8a8",
        sizes=(SIZE,),
        accuracy_frames=FRAMES,
        workers=1,
    )
    with pytest.MonkeyPatch.context() as patch:  # a toy's masks are noise: what it loses says nothing
        patch.setitem(limits.CLIP_LIMITS, "w8a8", 0.0)
        patch.setitem(limits.ACCURACY_LIMITS, "w8a8", 100.0)
        patch.setitem(limits.GRAPH_LIMITS["executorch"]["w8a8"], "image_encoder", 5.0)
        patch.setitem(limits.GRAPH_LIMITS["executorch"]["w8a8"], "mask_decoder", 5.0)
        build(open_target("executorch"), options, Reporter())
    return out


def test_package_verifies_and_its_engine_runs(toy: Toy, package: Path) -> None:
    report = verify_package(package)
    assert report.passed, [f"{check.what}: {check.got}" for check in report.failures]
    engine = create_engine("executorch", source=package)
    assert (engine.sizes, engine.bank_tokens) == ((SIZE,), contract.BANK_TOKENS)
    assert engine.describe().precision == "w8a8"
    manifest = json.loads((package / "manifest.json").read_text())
    assert (manifest["runtime"], manifest["calibration"]["frames"]) == ("executorch", 128)
    assert {graph["path"] for graph in manifest["graphs"]} == {f"models/{EXECUTORCH_PROGRAM}"}
    with pytest.raises(ContractError, match="bank budget"):
        create_engine("executorch", source=package, bank_tokens=128)


def test_damaged_program_fails_verification(package: Path) -> None:
    program = package / "models" / EXECUTORCH_PROGRAM
    data = program.read_bytes()
    program.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    try:
        assert [check.what for check in verify_package(package).failures] == [f"models/{EXECUTORCH_PROGRAM}"]
    finally:
        program.write_bytes(data)


def test_interface_of_each_method_is_the_contracts(package: Path) -> None:
    spec = contract.graph_spec("mask_decoder", SIZE)
    inputs, outputs = read_executorch_interface(package / "models" / EXECUTORCH_PROGRAM, spec.id)
    assert inputs == {tensor.name: f"array float32 {list(tensor.shape)}" for tensor in spec.inputs}
    assert outputs == {tensor.name: f"array float32 {list(tensor.shape)}" for tensor in spec.outputs}


def test_samples_of_every_graph_hold_for_this_machine(package: Path) -> None:
    bundle = _load_bundled_program_from_buffer((package / "models" / EXECUTORCH_SAMPLES).read_bytes())
    for graph in contract.GRAPHS:
        name = contract.graph_id(graph, SIZE)
        bundle.verify_result_with_bundled_expected_output(name, 0, 1e-5, 1e-8)  # raises where an output differs
