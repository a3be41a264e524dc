"""The engine on TFLite models: what it finds in a file, what it runs, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from converters.tflite.merge import merge
from sam2lite_mobile import contract
from sam2lite_mobile.engines import create_engine
from sam2lite_mobile.engines.tflite_engine import MODEL_MAX_BYTES, TfliteEngine, read_recipe
from sam2lite_mobile.errors import ContractError, PackageError
from tests.repository import ROOT
from tests.tflite_models import contract_model

SIZE, TOKENS = 256, 128
NAME = Path(contract.TFLITE_MODEL).name


def write_models(path: Path, specs: tuple[contract.GraphSpec, ...]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(merge([contract_model(spec) for spec in specs], description="test", recipe="w8a8"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_models(tmp_path / NAME, contract.all_graph_specs((SIZE,), bank_tokens=TOKENS))
    return tmp_path


def test_sizes_budget_and_description_are_read_from_the_model(folder: Path) -> None:
    engine = TfliteEngine(folder, threads=2)
    assert (engine.sizes, engine.bank_tokens) == ((SIZE,), TOKENS)
    description = engine.describe()
    assert (description.name, description.precision, description.threads) == ("tflite", "w8a8", 2)
    assert description.version.startswith("ai-edge-litert 2.")
    assert description.detail == "XNNPACK"


def test_outputs_come_by_name_and_are_never_written_again(folder: Path) -> None:
    engine = TfliteEngine(folder)
    engine.warm_up(SIZE)
    spec = contract.graph_spec("mask_decoder", SIZE, bank_tokens=TOKENS)
    inputs = {tensor.name: np.zeros(tensor.shape, np.float32) for tensor in spec.inputs}
    for values in inputs.values():
        values.setflags(write=False)
    first = engine.run(spec.id, inputs)
    assert {name: float(value.flat[0]) for name, value in first.items()} == {
        tensor.name: number for number, tensor in enumerate(spec.outputs, 1)
    }
    second = engine.run(spec.id, inputs)
    assert not any(np.shares_memory(first[name], second[name]) for name in first)
    assert {name: value.shape for name, value in first.items()} == {t.name: t.shape for t in spec.outputs}


def test_model_of_a_published_package_is_found(tmp_path: Path) -> None:
    write_models(tmp_path / contract.TFLITE_MODEL, contract.all_graph_specs((SIZE, 512), bank_tokens=TOKENS))
    engine = create_engine("tflite", source=tmp_path)
    assert engine.sizes == (SIZE, 512)
    with pytest.raises(ContractError, match="bank budget"):
        create_engine("tflite", source=tmp_path, bank_tokens=256)


def test_file_without_a_complete_size_is_refused(tmp_path: Path) -> None:
    specs = contract.all_graph_specs((SIZE,), bank_tokens=TOKENS)
    write_models(tmp_path / NAME, tuple(spec for spec in specs if spec.graph != "memory_encoder"))
    with pytest.raises(
        PackageError, match=r"signatures of .*: expected image_encoder_512.*python -m converters tflite"
    ):
        TfliteEngine(tmp_path)


def test_package_of_another_runtime_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with pytest.raises(PackageError, match=r"TFLite package .*expected models/sam2lite\.tflite, got no such file"):
        TfliteEngine(tmp_path)
    (tmp_path / "models" / "token_gate.onnx").write_bytes(b"onnx")
    with pytest.raises(PackageError, match=r"got a package of another runtime \(\.onnx\)"):
        TfliteEngine(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "too long"])
def test_broken_model_is_refused_by_its_path(folder: Path, damage: str) -> None:
    path = folder / NAME
    data = path.read_bytes()
    if damage == "too long":
        with path.open("ab") as file:
            file.truncate(MODEL_MAX_BYTES + 1)  # a hole: takes no room on the disk
    else:
        path.write_bytes({"empty": b"", "text": b"not a model" * 40, "cut": data[: len(data) // 2]}[damage])
    with pytest.raises(PackageError, match=r"sam2lite\.tflite: expected"):
        TfliteEngine(folder).warm_up(SIZE)


def test_signature_with_other_tensors_than_the_contracts_is_refused(tmp_path: Path) -> None:
    specs = contract.all_graph_specs((SIZE,), bank_tokens=TOKENS)
    other = contract.graph_spec("token_gate", bank_tokens=TOKENS + 1)
    write_models(tmp_path / NAME, (*specs[:-1], other))
    with pytest.raises(
        PackageError, match=r"inputs of token_gate: expected age float32 \[1, 384\].*got age float32 \[1, 385\]"
    ):
        TfliteEngine(tmp_path).load(["token_gate"])


def test_size_and_graph_that_are_not_there_are_wrong_calls(folder: Path) -> None:
    engine = TfliteEngine(folder)
    with pytest.raises(ContractError, match="size: expected one of 256, got 512"):
        engine.warm_up(512)
    with pytest.raises(ContractError, match="graph: expected one of image_encoder_256"):
        engine.run("image_encoder_512", {})


def test_model_without_our_metadata_is_as_built(tmp_path: Path) -> None:
    from converters.tflite.packing import pack

    path = tmp_path / NAME
    path.write_bytes(pack(contract_model(contract.graph_spec("token_gate"))))
    assert read_recipe(path) == "as built"
    path.write_bytes(b"\xff" * 64)
    with pytest.raises(PackageError, match="readable metadata"):
        read_recipe(path)


_WITH_STAND_IN = """
import sys, types
sys.modules["ai_edge_litert"] = None
if sys.argv[1] == "former":
    package, module = types.ModuleType("tflite_runtime"), types.ModuleType("tflite_runtime.interpreter")
    module.Interpreter = object
    sys.modules |= {"tflite_runtime": package, "tflite_runtime.interpreter": module}
from pathlib import Path
from sam2lite_mobile.engines import create_engine
try:
    create_engine("tflite", source=Path(sys.argv[2]))
except Exception as error:
    print(type(error).__name__, error)
from sam2lite_mobile.engines import tflite_engine
print(tflite_engine._RUNTIME)
"""


@pytest.mark.parametrize(
    ("installed", "said"),
    [
        ("none", "MissingBackendError engine tflite: expected the package ai_edge_litert"),
        ("former", "PackageError TFLite package"),
    ],
)
def test_former_name_of_the_runtime_is_taken_and_a_missing_one_is_named(
    tmp_path: Path, installed: str, said: str
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _WITH_STAND_IN, installed, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert said in run.stdout, run.stderr
    if installed == "former":
        assert run.stdout.rstrip().endswith("tflite-runtime")
