"""The engine on ExecuTorch programs: what it finds in one, what it runs, and what it refuses."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from executorch.exir import to_edge_transform_and_lower
from torch import nn

from sam2lite_mobile import contract
from sam2lite_mobile.contract import EXECUTORCH_MODELS_FOLDER, EXECUTORCH_PROGRAM, GraphSpec
from sam2lite_mobile.engines.executorch_engine import (
    RECIPE_METHOD,
    ExecutorchEngine,
    method_tensors,
    open_program,
    recipe_of,
)
from sam2lite_mobile.errors import ContractError, PackageError
from sam2lite_mobile.package.executorch_program import read_executorch_interface

SIZE, TOKENS = 256, 128


class Numbered(nn.Module):
    """The tensors of a graph: each output is its number (from 1) plus 0 times the first input's sum."""

    def __init__(self, spec: GraphSpec) -> None:
        super().__init__()
        self.shapes = [tensor.shape for tensor in spec.outputs]

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        nothing = inputs[0].sum() * 0.0
        return tuple(torch.full(shape, float(number)) + nothing for number, shape in enumerate(self.shapes, 1))


def program_of(specs: tuple[GraphSpec, ...]) -> bytes:
    """A program without delegate, with a method for each graph."""
    exported = {
        spec.id: torch.export.export(Numbered(spec), tuple(torch.zeros(tensor.shape) for tensor in spec.inputs))
        for spec in specs
    }
    edge = to_edge_transform_and_lower(exported, constant_methods={RECIPE_METHOD: "w8a8"})
    return bytes(edge.to_executorch().buffer)


@pytest.fixture(scope="module")
def whole() -> bytes:
    return program_of(contract.all_graph_specs((SIZE,), bank_tokens=TOKENS))


@pytest.fixture
def folder(whole: bytes, tmp_path: Path) -> Path:
    (tmp_path / EXECUTORCH_PROGRAM).write_bytes(whole)
    return tmp_path


def test_sizes_budget_and_description_are_read_from_the_program(folder: Path) -> None:
    engine = ExecutorchEngine(folder, threads=2)
    assert (engine.sizes, engine.bank_tokens) == ((SIZE,), TOKENS)
    description = engine.describe()
    assert (description.name, description.precision, description.threads) == ("executorch", "w8a8", 2)
    assert description.version == importlib.metadata.version("executorch")


def test_outputs_come_by_name_and_are_never_written_again(folder: Path) -> None:
    engine = ExecutorchEngine(folder)
    engine.warm_up(SIZE)
    spec = engine.spec("mask_decoder_256")
    inputs = {tensor.name: np.zeros(tensor.shape, np.float32) for tensor in spec.inputs}
    first = engine.run(spec.id, inputs)
    assert {name: float(value.flat[0]) for name, value in first.items()} == {
        tensor.name: number for number, tensor in enumerate(spec.outputs, 1)
    }
    second = engine.run(spec.id, inputs)
    assert not any(np.shares_memory(first[name], second[name]) for name in first)


def test_program_of_a_published_package_is_found(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    package = tmp_path_factory.mktemp("package")
    shutil.copytree(folder, package / EXECUTORCH_MODELS_FOLDER)
    assert ExecutorchEngine(package).sizes == (SIZE,)


def test_package_of_another_runtime_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weights.bin").write_bytes(b"0")
    with pytest.raises(PackageError, match=r"sam2lite\.pte: expected a program, got no file.*converters executorch"):
        ExecutorchEngine(tmp_path)


@pytest.mark.parametrize("data", [b"", b"no program at all", b"\0" * 4096])
def test_broken_program_is_refused_by_its_path(tmp_path: Path, data: bytes) -> None:
    (tmp_path / EXECUTORCH_PROGRAM).write_bytes(data)
    with pytest.raises(PackageError, match=r"sam2lite\.pte: expected a program that ExecuTorch loads"):
        ExecutorchEngine(tmp_path)


def test_program_that_is_cut_short_is_refused(folder: Path) -> None:
    path = folder / EXECUTORCH_PROGRAM
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(PackageError, match=r"sam2lite\.pte"):
        ExecutorchEngine(folder)


def test_program_without_a_complete_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / EXECUTORCH_PROGRAM).write_bytes(program_of((contract.graph_spec("prompt_encoder"),)))
    with pytest.raises(PackageError, match=r"methods of .*: expected image_encoder_512"):
        ExecutorchEngine(tmp_path)


def test_size_and_graph_that_are_not_there_are_wrong_calls(folder: Path) -> None:
    engine = ExecutorchEngine(folder)
    with pytest.raises(ContractError, match="size: expected one of 256, got 512"):
        engine.warm_up(512)
    with pytest.raises(ContractError, match="graph: expected one of image_encoder_256"):
        engine.run("image_encoder_512", {})


def test_interface_has_the_contracts_names_in_its_order(folder: Path) -> None:
    path = folder / EXECUTORCH_PROGRAM
    spec = contract.graph_spec("token_gate", bank_tokens=TOKENS)
    inputs, outputs = read_executorch_interface(path, "token_gate")
    assert inputs == {tensor.name: f"array float32 {list(tensor.shape)}" for tensor in spec.inputs}
    assert outputs == {"scores": f"array float32 [1, {TOKENS + contract.TOKENS_PER_FRAME}]"}
    with pytest.raises(PackageError, match="methods: expected mask_decoder_512, got "):
        read_executorch_interface(path, "mask_decoder_512")
    link = folder / "link.pte"
    link.symlink_to(path)
    with pytest.raises(PackageError, match="no plain file"):
        read_executorch_interface(link, "token_gate")


def test_tensors_beyond_the_contracts_are_seen(tmp_path: Path) -> None:
    class Extra(nn.Module):
        def forward(self, points: torch.Tensor, labels: torch.Tensor, more: torch.Tensor) -> torch.Tensor:
            return points + labels.sum() + more.sum()

    arguments = (torch.zeros(1, 8, 2), torch.zeros(1, 8), torch.zeros(3))
    edge = to_edge_transform_and_lower({"prompt_encoder": torch.export.export(Extra(), arguments)})
    path = tmp_path / EXECUTORCH_PROGRAM
    path.write_bytes(bytes(edge.to_executorch().buffer))
    program = open_program(path)
    assert list(method_tensors(program, "prompt_encoder", where="")[0]) == ["points", "labels", "tensor 2"]
    assert recipe_of(program) == "as built"


def test_second_engine_with_another_number_of_threads_is_refused(folder: Path) -> None:
    ExecutorchEngine(folder).load(["token_gate"])
    ExecutorchEngine(folder).load(["token_gate"])
    with pytest.raises(ContractError, match="threads of ExecuTorch: expected 1, as the first engine"):
        ExecutorchEngine(folder, threads=2).load(["token_gate"])
