"""The engine on Core ML packages: discovery, lazy loading, the interpreter, and how it calls itself."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sam2lite_mobile.contract import GRAPHS, SIZED_GRAPHS, GraphSpec, graph_id, graph_spec
from sam2lite_mobile.engines import coreml, create_engine
from sam2lite_mobile.engines.coreml import CoreMLEngine
from sam2lite_mobile.errors import ContractError, MissingBackendError, PackageError
from sam2lite_mobile.runtime.engine import Engine
from tests.mlprogram.building import ct, mb, save_program

BANK = 128
SMALL, LARGE = 256, 304


def _save(folder: Path, spec: GraphSpec, *, file: str | None = None, ios: int = 17) -> Path:
    """A graph with the contract's interface: each output is its place among the outputs plus the first input's sum."""

    def build(*inputs):
        axes = list(range(len(spec.inputs[0].shape)))
        total = mb.reduce_sum(x=inputs[0], axes=axes, keep_dims=False)
        return [
            mb.add(x=total, y=np.full(output.shape, place, np.float32), name=output.name)
            for place, output in enumerate(spec.outputs, start=1)
        ]

    return save_program(
        folder,
        build,
        [np.zeros(tensor.shape, np.float32) for tensor in spec.inputs],
        names=[tensor.name for tensor in spec.inputs],
        ios=ios,
        file=file or f"{spec.id}.mlpackage",
    )


def _specs(*sizes: int, bank: int = BANK) -> list[GraphSpec]:
    specs = {}
    for size in sizes:
        for graph in GRAPHS:
            spec = graph_spec(graph, size, bank_tokens=bank)
            specs[spec.id] = spec
    return list(specs.values())


def _zeros(spec: GraphSpec) -> dict[str, np.ndarray]:
    return {tensor.name: np.zeros(tensor.shape, np.float32) for tensor in spec.inputs}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    for spec in _specs(SMALL, LARGE):
        _save(folder, spec)
    (folder / graph_id("image_encoder", 512)).with_suffix(".txt").write_text("not a package")
    return folder


@pytest.fixture
def engine(folder: Path) -> CoreMLEngine:
    return CoreMLEngine(folder, runtime="interpreter")


def test_sizes_and_bank_are_read_from_the_packages(engine: CoreMLEngine) -> None:
    protocol: Engine = engine
    assert (protocol.sizes, protocol.bank_tokens) == ((SMALL, LARGE), BANK)


@pytest.mark.parametrize("graph", GRAPHS)
def test_each_graph_runs_with_the_names_and_shapes_of_the_contract(engine: CoreMLEngine, graph: str) -> None:
    spec = graph_spec(graph, SMALL, bank_tokens=BANK)
    tensors = _zeros(spec)
    tensors[spec.inputs[0].name].flat[-1] = 3
    outputs = engine.run(spec.id, tensors)
    assert list(outputs) == [output.name for output in spec.outputs]
    for place, output in enumerate(spec.outputs, start=1):
        np.testing.assert_array_equal(outputs[output.name], np.full(output.shape, place + 3, np.float32))


def test_sizes_do_not_mix(engine: CoreMLEngine) -> None:
    spec = graph_spec("image_encoder", LARGE)
    assert engine.run(spec.id, _zeros(spec))["features"].shape == (1, 256, 19, 19)


def test_graphs_are_loaded_when_first_needed_and_kept(engine: CoreMLEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    program = coreml.Program

    def record(path: Path, **options: object) -> object:
        loaded.append(path.stem)
        return program(path, **options)

    monkeypatch.setattr(coreml, "Program", record)
    spec = graph_spec("prompt_encoder")
    engine.load(["token_gate"])
    assert loaded == ["token_gate"]
    engine.run(spec.id, _zeros(spec))
    engine.run(spec.id, _zeros(spec))
    engine.load(["token_gate", "prompt_encoder"])
    assert loaded == ["token_gate", "prompt_encoder"]


def test_warm_up_runs_every_graph_of_one_size(engine: CoreMLEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    run = engine.run
    monkeypatch.setattr(engine, "run", lambda name, tensors: ran.append(name) or run(name, tensors))
    engine.warm_up(LARGE)
    assert ran == [graph_id(graph, LARGE) for graph in GRAPHS]
    with pytest.raises(ContractError, match="one of 256, 304, got 512"):
        engine.warm_up(512)


def test_one_package_with_a_function_for_each_graph(tmp_path: Path) -> None:
    descriptor = ct.utils.MultiFunctionDescriptor()
    for spec in _specs(SMALL):
        path = _save(tmp_path, spec, file=f"part_{spec.id}.mlpackage", ios=18)
        descriptor.add_function(str(path), src_function_name="main", target_function_name=spec.id)
    descriptor.default_function_name = "token_gate"
    folder = tmp_path / "package"
    folder.mkdir()
    ct.utils.save_multifunction(descriptor, str(folder / coreml.MULTIFUNCTION_PACKAGE))
    engine = CoreMLEngine(folder, runtime="interpreter")
    assert (engine.sizes, engine.bank_tokens) == ((SMALL,), BANK)
    spec = graph_spec("mask_decoder", SMALL, bank_tokens=BANK)
    assert engine.run(spec.id, _zeros(spec))["visibility"].item() == 3


def test_interpreter_never_calls_itself_core_ml(engine: CoreMLEngine) -> None:
    description = engine.describe()
    assert (description.name, description.precision) == ("coreml-interpreter", "declared")
    assert description.detail == "ML Program reference semantics"
    assert description.threads == torch.get_num_threads()


def test_precision_reaches_the_programs(folder: Path) -> None:
    engine = CoreMLEngine(folder, runtime="interpreter", precision="pessimistic")
    assert engine.program("token_gate").precision == engine.describe().precision == "pessimistic"


def test_missing_graph_names_those_that_exist(engine: CoreMLEngine) -> None:
    with pytest.raises(ContractError, match=r"mask_decoder_304, .* got mask_decoder_512"):
        engine.load(["mask_decoder_512"])


def test_folder_without_a_complete_size_is_refused(tmp_path: Path) -> None:
    for spec in _specs(SMALL):
        if spec.graph != SIZED_GRAPHS[1]:
            (tmp_path / f"{spec.id}.mlpackage").mkdir()
    with pytest.raises(PackageError, match=r"mask_decoder_512.*got image_encoder_256"):
        CoreMLEngine(tmp_path, runtime="interpreter")


def test_decoders_with_different_banks_are_refused(folder: Path, tmp_path: Path) -> None:
    for path in folder.glob("*.mlpackage"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / f"mask_decoder_{LARGE}.mlpackage").unlink()
    _save(tmp_path, graph_spec("mask_decoder", LARGE, bank_tokens=192))
    with pytest.raises(PackageError, match=r"got \[128, 192\]"):
        CoreMLEngine(tmp_path, runtime="interpreter")


def test_budget_that_the_package_was_not_built_for_is_refused(folder: Path) -> None:
    assert create_engine("coreml", source=folder, bank_tokens=BANK).bank_tokens == BANK
    with pytest.raises(ContractError, match=f"expected {BANK}, got 256; build a package with --bank-tokens 256"):
        create_engine("coreml", source=folder, bank_tokens=256)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "onnx"}, "auto, coreml, interpreter, got onnx"),
        ({"compute_units": "TPU"}, "CPU_AND_NE, got TPU"),
    ],
)
def test_wrong_options_are_refused(folder: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        CoreMLEngine(folder, **options)


def test_wrong_precision_is_refused_before_a_graph_runs(folder: Path) -> None:
    with pytest.raises(ContractError, match="got 'fp8'"):
        CoreMLEngine(folder, runtime="interpreter", precision="fp8")


def test_core_ml_off_macos_is_a_missing_backend(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(MissingBackendError, match="runtime='interpreter'"):
        CoreMLEngine(folder, runtime="coreml")


def test_missing_coremltools_is_a_missing_backend(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coreml, "find_spec", lambda name: None)
    with pytest.raises(MissingBackendError, match=r"sam2lite-mobile\[coreml\]"):
        CoreMLEngine(folder)


@pytest.mark.macos
def test_core_ml_itself_agrees_with_the_interpreter(folder: Path, engine: CoreMLEngine) -> None:
    native = CoreMLEngine(folder, runtime="coreml", compute_units="CPU_ONLY")
    spec = graph_spec("token_gate", bank_tokens=BANK)
    tensors = _zeros(spec)
    np.testing.assert_allclose(
        native.run(spec.id, tensors)["scores"], engine.run(spec.id, tensors)["scores"], atol=1e-2
    )
    assert native.describe().name == "coreml"
