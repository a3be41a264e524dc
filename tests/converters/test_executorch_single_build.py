"""Whole packages of a small student for the Core ML and Vulkan delegates: built, verified, opened or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from converters import limits
from converters.build import build
from converters.options import BuildOptions, Reporter
from converters.registry import open_target
from sam2lite_mobile import contract
from sam2lite_mobile.engines import create_engine
from sam2lite_mobile.errors import MissingBackendError
from sam2lite_mobile.package.manifest import DELEGATED
from sam2lite_mobile.package.verify import NOT_EXECUTED_NOTE, verify_package
from tests.converters.conftest import FRAMES, SIZE, Toy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["executorch-coreml", "executorch-vulkan"])
def package(request: pytest.FixtureRequest, toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("build") / str(request.param)
    options = BuildOptions(checkpoint=toy.checkpoint, out=out, sizes=(SIZE,), accuracy_frames=FRAMES, workers=1)
    with pytest.MonkeyPatch.context() as patch:  # a toy's masks are noise: what it loses says nothing
        patch.setitem(limits.CLIP_LIMITS, "fp16", 0.0)
        patch.setitem(limits.ACCURACY_LIMITS, "fp16", 100.0)
        build(open_target(str(request.param)), options, Reporter())
    return out


def test_package_verifies_and_says_what_was_executed(package: Path) -> None:
    report = verify_package(package)
    assert report.passed, [f"{check.what}: {check.got}" for check in report.failures]
    manifest = json.loads((package / "manifest.json").read_text())
    runtime = package.name.replace("-", "_")
    executed = runtime == "executorch_coreml"
    assert (manifest["runtime"], manifest["executed"]) == (runtime, executed)
    assert report.notes == (() if executed else (NOT_EXECUTED_NOTE,))
    assert {gate["measure"] for gate in manifest["gates"] if gate["kind"] == "lowering"} == set(DELEGATED[runtime])
    assert [graph["path"] for graph in manifest["graphs"]] == [
        f"models/{graph['id']}.pte" for graph in manifest["graphs"]
    ]


def test_package_is_opened_where_it_can_be_run_and_refused_where_not(toy: Toy, package: Path) -> None:
    if "vulkan" in package.name:
        with pytest.raises(MissingBackendError, match="shaders need a GPU"):
            create_engine("executorch", source=package)
        return
    engine = create_engine("executorch", source=package)
    assert (engine.sizes, engine.bank_tokens) == ((SIZE,), contract.BANK_TOKENS)
    assert engine.describe().precision == "fp16"
    name = contract.graph_id("memory_encoder", SIZE)
    outputs, reference = engine.run(name, toy.inputs[name]), toy.engine.run(name, toy.inputs[name])
    assert {each: value.shape for each, value in outputs.items()} == {n: v.shape for n, v in reference.items()}


def test_program_of_another_graph_fails_verification(package: Path) -> None:
    gate = package / "models" / "token_gate.pte"
    data = gate.read_bytes()
    gate.write_bytes((package / "models" / "prompt_encoder.pte").read_bytes())
    try:
        assert "models/token_gate.pte" in {check.what for check in verify_package(package).failures}
    finally:
        gate.write_bytes(data)
