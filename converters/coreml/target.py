"""Core ML: ML Programs for iOS 17, executed by the interpreter, laid out as a SwiftPM package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.capture import CapturedGraph
from converters.coreml.export import convert
from converters.coreml.operations import operations
from converters.operations import Operations
from converters.target import GraphPrecision, Target, Tensors
from sam2lite_mobile.engines.coreml import CoreMLEngine
from sam2lite_mobile.mlprogram import Program
from sam2lite_mobile.package.manifest import Manifest
from sam2lite_mobile.package.publish import publish_ios
from sam2lite_mobile.runtime.engine import Engine


class CoreML(Target):
    """`<graph id>.mlpackage`, one for every graph and size."""

    name = "coreml"
    runtime = "coreml"
    recipes = ("fp32", "fp16", "w8", "w8a8", "p6", "p4")
    tools = ("torch", "coremltools", "numpy", "protobuf")
    source_folders = ("converters", "sam2lite_mobile", "ios_demo")
    suffix = ".mlpackage"
    runs_as = "ML Program reference semantics"

    def convert(self, graph: CapturedGraph, path: Path, *, precision: GraphPrecision, student_size: str) -> None:
        """An ML Program for iOS 17; see `export.convert`."""
        convert(graph, path, precision=precision, student_size=student_size)

    def execute(self, path: Path, inputs: Tensors) -> dict[str, NDArray[np.float32]]:
        """Every operation rounded to the type that the program declares for it."""
        program = Program(path, precision="declared")
        return program.run({name: np.ascontiguousarray(value) for name, value in inputs.items()})

    def operations(self, path: Path) -> Operations:
        """Read back from the file."""
        return operations(path)

    def engine(self, folder: Path) -> Engine:
        """Core ML itself on macOS, elsewhere the interpreter."""
        return CoreMLEngine(folder)

    def publish(
        self, target: Path, *, models: Mapping[str, Path], manifest: Manifest, model_card: Path, licence: Path
    ) -> None:
        """A SwiftPM package; see `publish_ios`."""
        publish_ios(target, models=models, manifest=manifest, model_card=model_card, licence=licence)
