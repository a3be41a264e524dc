"""TFLite: one model for LiteRT with a signature for every graph and size, weights stored once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.capture import CapturedGraph
from converters.operations import Operations
from converters.target import GraphPrecision, Target, Tensors
from converters.tflite.export import export
from converters.tflite.flatbuffer import Graph, unpack
from converters.tflite.gpu_delegate import gpu_problems
from converters.tflite.layers import find_layers
from converters.tflite.merge import merge
from converters.tflite.operations import operations
from converters.tflite.packing import pack
from converters.tflite.quantize import quantize
from converters.tflite.rewrite import for_delegates
from converters.tflite.storage import narrow
from converters.tflite.tables import factor_placing
from converters.tflite.xnnpack import placement
from sam2lite_mobile.contract import TFLITE_MODEL
from sam2lite_mobile.engines.tflite_engine import TfliteEngine, open_interpreter, read_recipe
from sam2lite_mobile.errors import ConversionError, GateError, explain
from sam2lite_mobile.package.files import write_file
from sam2lite_mobile.package.manifest import Manifest
from sam2lite_mobile.package.publish import publish_models
from sam2lite_mobile.package.templates import repository_root
from sam2lite_mobile.package.tflite import write_tflite_package
from sam2lite_mobile.runtime.engine import Engine


class Tflite(Target):
    """`<graph id>.tflite` for each graph, `sam2lite.tflite` for all of them."""

    name = "tflite"
    runtime = "tflite"
    recipes = ("fp32", "fp16", "w8", "w8a8")
    tools = ("torch", "litert-torch", "litert-converter", "ai-edge-litert", "flatbuffers", "numpy")
    source_folders = ("converters", "sam2lite_mobile", "android_demo")
    suffix = ".tflite"
    runs_as = "LiteRT, XNNPACK on the processor"

    def __init__(self) -> None:
        if find_spec("litert_torch") is None:  # imported when it is first needed: it takes ten seconds
            raise ModuleNotFoundError("No module named 'litert_torch'", name="litert_torch")
        self._exported: tuple[CapturedGraph, bytes] | None = None

    def convert(self, graph: CapturedGraph, path: Path, *, precision: GraphPrecision, student_size: str) -> None:
        """A model that takes and gives float32. All of it is computed in float32 but for what is quantized.

        fp16 is a matter of storage here, where it loses nothing; in w8 and w8a8 tables of positions are rounded too,
        to float16 and to int8.
        Raises GateError where a node is left out of the XNNPACK delegate, ConversionError where the GPU delegate would
        refuse one.
        """
        model = self._float_model(graph)
        body = Graph(model)
        layers = find_layers(body, graph)
        for_delegates(body)
        if precision.name.startswith("w8"):
            quantize(body, layers, precision)
        if precision.name != "fp32":
            factor_placing(body)
            narrow(body, exactly=precision.name == "fp16", integer_tables=precision.name == "w8a8")
        size = f" at {graph.spec.size} px" if graph.spec.size else ""
        description = f"SAM2-Lite {student_size}: {graph.spec.graph.replace('_', ' ')}{size}, {precision.name}"
        written = merge([model], description=description, recipe=precision.name)
        require_delegated(written, where=graph.spec.id)
        write_file(path, written)

    def execute(self, path: Path, inputs: Tensors) -> dict[str, NDArray[np.float32]]:
        """Run by LiteRT with one thread."""
        runner = open_interpreter(path, threads=1).get_signature_runner()
        found: dict[str, NDArray[np.float32]] = runner(
            **{name: np.ascontiguousarray(value) for name, value in inputs.items()}
        )
        return found

    def operations(self, path: Path) -> Operations:
        """Read back from the file."""
        return operations(path)

    def assemble(self, folder: Path, graph_ids: Sequence[str]) -> None:
        """All graphs into one model."""
        files = [folder / f"{graph_id}.tflite" for graph_id in graph_ids]
        recipe = _shipped_recipe([read_recipe(file) for file in files])
        models = [unpack(file.read_bytes()) for file in files]
        merged = merge(models, description=f"SAM2-Lite: {len(files)} graphs, {recipe}", recipe=recipe)
        write_file(folder / Path(TFLITE_MODEL).name, merged)

    def engine(self, folder: Path) -> Engine:
        """LiteRT with one thread, on the model of all graphs."""
        return TfliteEngine(folder)

    def publish(
        self, target: Path, *, models: Mapping[str, Path], manifest: Manifest, model_card: Path, licence: Path
    ) -> None:
        """A folder with one model; see `write_tflite_package`."""
        readme = repository_root() / "android_demo" / "README.md"
        texts = {"readme": readme, "model_card": model_card, "licence": licence}
        publish_models(target, write_tflite_package, models=models, manifest=manifest, **texts)

    def _float_model(self, graph: CapturedGraph) -> Any:
        """The graph as it was converted, to be edited; both precisions of a build start from one conversion."""
        if self._exported is None or self._exported[0] is not graph:
            self._exported = (graph, pack(export(graph)))
        return unpack(self._exported[1])


def require_delegated(model: bytes, *, where: str) -> None:
    """Hold a model with one graph against both delegates.

    Raises GateError unless XNNPACK takes every node, in one piece; ConversionError where the GPU delegate refuses one.
    """
    found = placement(model)
    if found.outside or found.partitions != 1:
        listed = f": {', '.join(found.outside[:4])}" if found.outside else ""
        raise GateError(
            explain(
                f"{where} on the XNNPACK delegate",
                expected=f"all of {found.nodes} nodes in one piece",
                got=f"{len(found.outside)} outside, {found.partitions} pieces{listed}",
                do="rewrite these operators in converters/tflite/rewrite.py",
            )
        )
    problems = gpu_problems(Graph(unpack(model)))
    if problems:
        raise ConversionError(
            explain(
                f"{where} for the GPU delegate",
                expected="operators that it takes",
                got="; ".join(problems[:4]),
                do="rewrite these operators in converters/tflite/rewrite.py",
            )
        )


def _shipped_recipe(recipes: Sequence[str]) -> str:
    """The recipe of a package from those of its graphs, of which some stay in a wider one (`graph_precision`)."""
    return next(name for name in ("w8a8", "w8", "fp16", "fp32") if name in recipes)
