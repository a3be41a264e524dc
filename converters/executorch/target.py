"""ExecuTorch: one program with a method for every graph and size, all of it on the XNNPACK delegate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from numpy.typing import NDArray

from converters.capture import CapturedGraph, capture_module
from converters.executorch.lower import lower, placement, program_bytes, require_delegated
from converters.executorch.merge import SOURCE_METHOD, merge
from converters.executorch.operations import operations
from converters.executorch.quantize import quantize
from converters.executorch.reauthored import reauthored
from converters.executorch.samples import spec_of, write_samples
from converters.operations import Operations
from converters.target import GraphPrecision, Target, Tensors
from sam2lite_mobile import contract
from sam2lite_mobile.contract import GraphSpec
from sam2lite_mobile.engines.executorch_engine import ExecutorchEngine, load_method, open_program, run_method
from sam2lite_mobile.package.executorch import write_executorch_package
from sam2lite_mobile.package.files import write_file
from sam2lite_mobile.package.manifest import Manifest
from sam2lite_mobile.package.publish import publish_models
from sam2lite_mobile.package.templates import repository_root
from sam2lite_mobile.runtime.engine import Engine
from sam2lite_mobile.student.student import Student


class Executorch(Target):
    """`sam2lite.pte`, and `samples.bpte` with inputs and outputs of the smallest size to check a device with."""

    name = "executorch"
    runtime = "executorch"
    recipes = ("fp32", "w8a8")
    tools = ("torch", "executorch", "torchao", "numpy", "flatbuffers")
    source_folders = ("converters", "sam2lite_mobile", "executorch_demo")
    suffix = ".pte"
    runs_as = "ExecuTorch, XnnpackBackend"

    def capture(self, student: Student, spec: GraphSpec, *, bank_tokens: int) -> CapturedGraph:
        """The graph written with the operations that the delegate takes."""
        size = spec.size or contract.FULL_SIZE
        return capture_module(reauthored(student.graph(spec.graph), size), spec, bank_tokens=bank_tokens)

    def convert(self, graph: CapturedGraph, path: Path, *, precision: GraphPrecision, student_size: str) -> None:
        """A program of one method that takes and gives float32. All of it is float32 but for what is quantized.

        Raises ConversionError where an operation is left outside of the delegate.
        """
        where = f"{graph.spec.id} in {precision.name}"
        program = quantize(graph, precision) if precision.name == "w8a8" else graph.program
        edge = lower(program, [XnnpackPartitioner()], recipe=precision.name, where=where)
        require_delegated(placement(edge), where=where)
        write_file(path, program_bytes(edge, where=where))

    def execute(self, path: Path, inputs: Tensors) -> dict[str, NDArray[np.float32]]:
        """Run by ExecuTorch with one thread. path: `<graph id>[.<precision>].pte`."""
        program = open_program(path)
        spec = spec_of(path.name.partition(".")[0], inputs)
        return run_method(load_method(program, SOURCE_METHOD, threads=1, where=str(path)), spec, inputs)

    def operations(self, path: Path) -> Operations:
        """Read back from the file."""
        return operations(path)

    def assemble(self, folder: Path, graph_ids: Sequence[str]) -> None:
        """All graphs into one program; the recorded inputs of the smallest size and what it makes of them beside it.

        The files of single graphs stay where they are: the package takes none of them.
        """
        programs = {name: (folder / f"{name}{self.suffix}").read_bytes() for name in graph_ids}
        decoder = next(name for name in graph_ids if name.startswith("mask_decoder"))
        write_file(folder / contract.EXECUTORCH_PROGRAM, merge(programs, recipe_of=decoder))
        size = int(decoder.rpartition("_")[2])
        small = [contract.graph_id(graph, size) for graph in contract.GRAPHS]
        write_samples(folder, {name: programs[name] for name in small}, recipe_of=decoder)

    def engine(self, folder: Path) -> Engine:
        """ExecuTorch with one thread."""
        return ExecutorchEngine(folder)

    def publish(
        self, target: Path, *, models: Mapping[str, Path], manifest: Manifest, model_card: Path, licence: Path
    ) -> None:
        """A folder with the program; see `write_executorch_package`."""
        readme = repository_root() / "executorch_demo" / "README.md"
        texts = {"readme": readme, "model_card": model_card, "licence": licence}
        publish_models(target, write_executorch_package, models=models, manifest=manifest, **texts)
