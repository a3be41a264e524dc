"""The engine on ONNX models: what it finds in a folder, what it runs, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sam2lite_mobile import contract
from sam2lite_mobile.contract import GraphSpec
from sam2lite_mobile.engines.onnx_engine import RECIPE_PROPERTY, OnnxEngine, session_options
from sam2lite_mobile.errors import ContractError, PackageError

SIZE, TOKENS = 256, 128


def write_model(path: Path, spec: GraphSpec) -> None:
    """A model with the tensors of a graph: each output is its number (from 1) plus 0 times the first input's sum."""
    inputs = [helper.make_tensor_value_info(t.name, TensorProto.FLOAT, t.shape) for t in spec.inputs]
    outputs = [helper.make_tensor_value_info(t.name, TensorProto.FLOAT, t.shape) for t in spec.outputs]
    nodes, constants = [], [numpy_helper.from_array(np.zeros((), np.float32), "zero")]
    nodes.append(helper.make_node("ReduceSum", [spec.inputs[0].name], ["sum"], keepdims=0))
    nodes.append(helper.make_node("Mul", ["sum", "zero"], ["nothing"]))
    for number, tensor in enumerate(spec.outputs, 1):
        constants.append(numpy_helper.from_array(np.full(tensor.shape, number, np.float32), f"{tensor.name}.value"))
        nodes.append(helper.make_node("Add", [f"{tensor.name}.value", "nothing"], [tensor.name]))
    graph = helper.make_graph(nodes, spec.graph, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    model.metadata_props.add(key=RECIPE_PROPERTY, value="w8a8")
    path.write_bytes(model.SerializeToString())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for spec in contract.all_graph_specs((SIZE,), bank_tokens=TOKENS):
        write_model(tmp_path / f"{spec.id}.onnx", spec)
    return tmp_path


def test_sizes_budget_and_description_are_read_from_the_models(folder: Path) -> None:
    (folder / "notes.onnx").write_bytes(b"not a graph of ours")
    engine = OnnxEngine(folder, threads=2)
    assert (engine.sizes, engine.bank_tokens) == ((SIZE,), TOKENS)
    description = engine.describe()
    assert (description.name, description.precision, description.threads) == ("onnx", "w8a8", 2)
    assert description.version.startswith("onnxruntime ")
    assert description.detail == "CPUExecutionProvider"


def test_outputs_come_by_name_and_are_never_written_again(folder: Path) -> None:
    engine = OnnxEngine(folder)
    engine.warm_up(SIZE)
    spec = contract.graph_spec("mask_decoder", SIZE, bank_tokens=TOKENS)
    inputs = {tensor.name: np.zeros(tensor.shape, np.float32) for tensor in spec.inputs}
    first = engine.run(spec.id, inputs)
    assert {name: float(value.flat[0]) for name, value in first.items()} == {
        tensor.name: number for number, tensor in enumerate(spec.outputs, 1)
    }
    second = engine.run(spec.id, inputs)
    assert not any(np.shares_memory(first[name], second[name]) for name in first)


def test_models_of_a_published_package_are_found(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    package = tmp_path_factory.mktemp("package")
    folder.rename(package / contract.ONNX_MODELS_FOLDER)
    assert OnnxEngine(package).sizes == (SIZE,)


def test_folder_without_a_complete_size_is_refused(folder: Path) -> None:
    (folder / f"memory_encoder_{SIZE}.onnx").unlink()
    with pytest.raises(PackageError, match=r"ONNX models in .*: expected image_encoder_512.*python -m converters onnx"):
        OnnxEngine(folder)


def test_broken_model_is_refused_by_its_path(folder: Path) -> None:
    engine = OnnxEngine(folder)
    (folder / "token_gate.onnx").write_bytes(b"\x08\x01broken")
    with pytest.raises(PackageError, match=r"token_gate\.onnx: expected a model that ONNX Runtime loads"):
        engine.load(["token_gate"])


def test_weights_that_are_cut_short_are_refused(folder: Path) -> None:
    path = folder / "token_gate.onnx"
    model = onnx.load(path)
    onnx.save_model(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    weights = folder / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(PackageError, match=r"token_gate\.onnx"):
        OnnxEngine(folder).load(["token_gate"])


def test_size_and_graph_that_are_not_there_are_wrong_calls(folder: Path) -> None:
    engine = OnnxEngine(folder)
    with pytest.raises(ContractError, match="size: expected one of 256, got 512"):
        engine.warm_up(512)
    with pytest.raises(ContractError, match="graph: expected one of image_encoder_256"):
        engine.run("image_encoder_512", {})


@pytest.mark.parametrize(("flags", "asked"), [([], True), (None, True), (["avx512_vnni"], False)])
def test_exact_int8_products_are_asked_for_where_dot_products_are_missing(
    monkeypatch: pytest.MonkeyPatch, flags: list[str] | None, asked: bool
) -> None:
    monkeypatch.setattr("sam2lite_mobile.engines.onnx_engine.this_dot_product", lambda: flags)
    options, entry = session_options(threads=1), "session.x64quantprecision"
    if asked:
        assert options.get_session_config_entry(entry) == "1"
    else:
        with pytest.raises(RuntimeError, match="does not have"):
            options.get_session_config_entry(entry)
