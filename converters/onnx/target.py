"""ONNX: models for ONNX Runtime, one for every graph and size, with one file of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray

from converters.capture import CapturedGraph
from converters.onnx.export import anonymous, export
from converters.onnx.operations import operations
from converters.onnx.quantize import ONNX_RUNTIME, TENSORRT, Form, quantize
from converters.onnx.storage import halve, share_weights
from converters.onnx.tables import factor_tables
from converters.onnx.tensorrt import tensorrt_problems
from converters.operations import Operations
from converters.target import GraphPrecision, Target, Tensors
from sam2lite_mobile.engines.onnx_engine import RECIPE_PROPERTY, OnnxEngine, open_session
from sam2lite_mobile.errors import ConversionError, explain
from sam2lite_mobile.package.files import write_file
from sam2lite_mobile.package.manifest import Manifest
from sam2lite_mobile.package.onnx import write_onnx_package
from sam2lite_mobile.package.publish import publish_models
from sam2lite_mobile.package.templates import repository_root
from sam2lite_mobile.runtime.engine import Engine


class Onnx(Target):
    """`<graph id>.onnx` and `weights.bin`."""

    name = "onnx"
    runtime = "onnx"
    recipes = ("fp32", "fp16", "w8", "w8a8")
    tools = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "protobuf")
    source_folders = ("converters", "sam2lite_mobile", "onnx_demo")
    suffix = ".onnx"
    runs_as = "ONNX Runtime, CPUExecutionProvider"
    form: ClassVar[Form] = ONNX_RUNTIME
    readme: ClassVar[str] = "README.md"

    def convert(self, graph: CapturedGraph, path: Path, *, precision: GraphPrecision, student_size: str) -> None:
        """A model that takes and gives float32. All of it is computed in float32 but for what is quantized.

        fp16 is a matter of storage here: on processors ONNX Runtime has next to no float16 operations.
        """
        spec = graph.spec
        model = export(graph)
        if precision.name.startswith("w8"):
            quantize(model, spec.graph, precision, self.form)
        factor_tables(model)
        if precision.name != "fp32":
            halve(model)
        size = f" at {spec.size} px" if spec.size else ""
        description = f"SAM2-Lite {student_size}: {spec.graph.replace('_', ' ')}{size}, {precision.name}"
        anonymous(model, description=description, properties={RECIPE_PROPERTY: precision.name})
        onnx.checker.check_model(model, full_check=True)
        self.check(model, where=spec.id)
        write_file(path, model.SerializeToString(deterministic=True))

    def execute(self, path: Path, inputs: Tensors) -> dict[str, NDArray[np.float32]]:
        """Run by ONNX Runtime with one thread."""
        session = open_session(path, threads=1)
        names = [output.name for output in session.get_outputs()]
        values = session.run(names, {name: np.ascontiguousarray(value) for name, value in inputs.items()})
        return dict(zip(names, values, strict=True))

    def operations(self, path: Path) -> Operations:
        """Read back from the file."""
        return operations(path)

    def assemble(self, folder: Path, graph_ids: Sequence[str]) -> None:
        """The weights of all sizes into one file."""
        share_weights(folder, graph_ids)

    def engine(self, folder: Path) -> Engine:
        """ONNX Runtime with one thread."""
        return OnnxEngine(folder)

    def publish(
        self, target: Path, *, models: Mapping[str, Path], manifest: Manifest, model_card: Path, licence: Path
    ) -> None:
        """A folder of models; see `write_onnx_package`."""
        readme = repository_root() / "onnx_demo" / self.readme
        texts = {"readme": readme, "model_card": model_card, "licence": licence}
        publish_models(target, write_onnx_package, models=models, manifest=manifest, **texts)

    def check(self, model: onnx.ModelProto, *, where: str) -> None:
        """Raise ConversionError where a model asks more of the runtime than it has."""


class TensorRT(Onnx):
    """The same package in the form that TensorRT takes, checked against its rules; run here by ONNX Runtime."""

    name = "tensorrt"
    form = TENSORRT
    readme = "TENSORRT.md"

    def check(self, model: onnx.ModelProto, *, where: str) -> None:
        """Hold a model against the rules of `tensorrt.py`."""
        problems = tensorrt_problems(model)
        if problems:
            raise ConversionError(
                explain(
                    f"{where} for TensorRT",
                    expected="operations and constants that its parser takes",
                    got="; ".join(problems[:4]),
                    do="write the module so that it exports to other operations",
                )
            )
