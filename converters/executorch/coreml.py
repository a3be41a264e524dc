"""ExecuTorch with the Core ML delegate: one program for each graph and size, its ML Program run by our interpreter."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.capture import CapturedGraph
from converters.coreml import operations as coreml_operations
from converters.executorch.coreml_delegate import lower_to_coreml
from converters.executorch.samples import spec_of
from converters.executorch.single import SinglePrograms, write_program
from converters.operations import Operations
from converters.target import GraphPrecision, Tensors
from sam2lite_mobile.engines.delegated_program import read_program
from sam2lite_mobile.engines.executorch_coreml import MODEL_FOLDER, DelegatedModel, ExecutorchCoreMLEngine
from sam2lite_mobile.mlprogram.memory_folder import extract_folder
from sam2lite_mobile.runtime.engine import Engine


class ExecutorchCoreML(SinglePrograms):
    """For iOS 17 and macOS 14 or later. Several methods in one program do not load there."""

    name = "executorch-coreml"
    runtime = "executorch_coreml"
    recipes = ("fp32", "fp16")
    tools = ("torch", "executorch", "coremltools", "numpy", "flatbuffers", "protobuf")
    runs_as = "model of CoreMLBackend, ML Program reference semantics"
    readme = "COREML.md"

    def convert(self, graph: CapturedGraph, path: Path, *, precision: GraphPrecision, student_size: str) -> None:
        """A program whose method takes and gives float32, and computes in float32 or float16."""
        where = f"{graph.spec.id} in {precision.name}"
        data = lower_to_coreml(graph.program, precision=precision.name, recipe=precision.name, where=where)
        write_program(path, data, graph.spec)

    def execute(self, path: Path, inputs: Tensors) -> dict[str, NDArray[np.float32]]:
        """The model that the delegate would hand to Core ML, every operation rounded to its declared type."""
        return DelegatedModel(path).run(spec_of(path.name.partition(".")[0], inputs), inputs)

    def operations(self, path: Path) -> Operations:
        """Read back from the model inside."""
        with tempfile.TemporaryDirectory() as folder:
            extract_folder(read_program(path).data, Path(folder), where=str(path))
            return coreml_operations.operations(Path(folder) / MODEL_FOLDER)

    def engine(self, folder: Path) -> Engine:
        """The interpreter of ML Programs."""
        return ExecutorchCoreMLEngine(folder)
