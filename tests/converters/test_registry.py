"""The registry of targets: by name, imported on use, with an install line where a tool is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from converters import registry
from converters.limits import ACCURACY_LIMITS, CLIP_LIMITS, GRAPH_LIMITS
from converters.registry import TARGETS, open_target
from sam2lite_mobile import contract
from sam2lite_mobile.errors import ContractError, MissingBackendError
from sam2lite_mobile.quantization.recipe_names import RECIPES
from tests.repository import ROOT


@pytest.mark.parametrize("name", TARGETS)
def test_every_recipe_of_a_target_has_all_limits(name: str) -> None:
    target = open_target(name)
    assert target.name == name
    assert set(target.recipes) <= set(RECIPES)
    for recipe in target.recipes:
        assert set(GRAPH_LIMITS[name][recipe]) == set(contract.GRAPHS)
        assert recipe in CLIP_LIMITS
        assert recipe in ACCURACY_LIMITS


def test_unknown_target_is_refused() -> None:
    with pytest.raises(ContractError, match=f"target: expected {', '.join(TARGETS)}, got tvm"):
        open_target("tvm")


def test_missing_tool_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> object:
        raise ModuleNotFoundError("No module named 'onnxscript'", name="onnxscript")

    monkeypatch.setattr(registry, "import_module", fail)
    with pytest.raises(MissingBackendError, match=r"the package onnxscript.*pip install 'sam2lite-mobile\[onnx\]'"):
        open_target("onnx")


def test_converter_that_is_imported_late_is_missed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from converters.tflite import target

    monkeypatch.setattr(target, "find_spec", lambda name: None)
    with pytest.raises(MissingBackendError, match=r"the package litert_torch.*pip install 'sam2lite-mobile\[tflite\]'"):
        open_target("tflite")


def test_broken_installation_is_not_taken_for_a_missing_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> object:
        raise ModuleNotFoundError("No module named 'converters.gone'", name="converters.gone")

    monkeypatch.setattr(registry, "import_module", fail)
    with pytest.raises(ModuleNotFoundError):
        open_target("onnx")


def test_help_imports_no_framework() -> None:
    names = "torch coremltools onnx onnxruntime litert_torch ai_edge_litert executorch torchao".split()
    script = f"import sys, converters.__main__; print(sorted({set(names)} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "[]", run.stderr
