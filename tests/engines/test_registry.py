"""The registry of engines: what it refuses, and that it imports only the framework that was asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import pytest

from sam2lite_mobile import engines
from sam2lite_mobile.errors import ContractError, MissingBackendError
from sam2lite_mobile.runtime.engine import Engine
from tests.repository import ROOT
from tests.runtime.scripted_engine import ScriptedEngine


def test_unknown_engine_is_refused_by_name() -> None:
    known = "torch or coreml or onnx or tflite or executorch"
    with pytest.raises(ContractError, match=f"engine: expected {known}, got 'tpu'"):
        engines.create_engine("tpu")


@pytest.mark.parametrize("name", ["coreml", "onnx", "tflite", "executorch"])
def test_engines_on_packages_have_no_default(name: str) -> None:
    assert engines.default_source(name) is None
    with pytest.raises(ContractError, match=f"engine {name}: expected a package folder, got none"):
        engines.create_engine(name)


def test_engine_needs_a_thread() -> None:
    with pytest.raises(ContractError, match="threads: expected 1 or more, got 0"):
        engines.create_engine("torch", threads=0)


def test_source_threads_and_budget_reach_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Path | None, int, int | None]] = []

    def create(source: Path | None, threads: int, bank_tokens: int | None) -> Engine:
        seen.append((source, threads, bank_tokens))
        return ScriptedEngine()

    entry = engines.EngineEntry(create, takes="package", extra="torch")
    monkeypatch.setattr(engines, "ENGINES", MappingProxyType({"scripted": entry}))
    engines.create_engine("scripted", source=Path("p"), threads=3)
    engines.create_engine("scripted", bank_tokens=128)
    assert seen == [(Path("p"), 3, None), (None, 1, 128)]


@pytest.mark.parametrize(
    ("missing", "raised"), [("torch", MissingBackendError), ("sam2lite_mobile.x", ModuleNotFoundError)]
)
def test_missing_framework_names_the_extra_and_a_broken_package_does_not(
    monkeypatch: pytest.MonkeyPatch, missing: str, raised: type[Exception]
) -> None:
    def create(source: Path | None, threads: int, bank_tokens: int | None) -> Engine:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    entry = engines.EngineEntry(create, takes="checkpoint", extra="torch")
    monkeypatch.setattr(engines, "ENGINES", MappingProxyType({"torch": entry}))
    expected = r"pip install 'sam2lite-mobile\[torch\]'" if raised is MissingBackendError else missing
    with pytest.raises(raised, match=expected):
        engines.create_engine("torch")


def test_registry_imports_no_framework() -> None:
    frameworks = "{'torch', 'coremltools', 'onnxruntime', 'ai_edge_litert', 'executorch'}"
    script = f"import sys, sam2lite_mobile.engines; print(sorted({frameworks} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "[]", run.stderr
