"""Converting and gating one graph: the unit of work that build processes share among themselves."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from converters.coreml.export import capture, convert
from converters.coreml.policy import graph_precision
from converters.gates import graph_gate
from sam2lite_mobile.contract import GraphSpec
from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.mlprogram import Program
from sam2lite_mobile.package.manifest import GateResult
from sam2lite_mobile.student.checkpoint import load_student

Tensors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class GraphTask:
    """A graph to convert: its recorded inputs as .npz, and the folder that gets `<id>.mlpackage`."""

    checkpoint: Path
    spec: GraphSpec
    bank_tokens: int
    recipe: str
    inputs: Path
    folder: Path


@dataclass(frozen=True)
class GraphOutcome:
    """The written package, its gates (structural fp32 first, then the shipped precision) and the time it took."""

    id: str
    package: Path
    gates: tuple[GateResult, ...]
    seconds: float


def convert_and_gate(task: GraphTask) -> GraphOutcome:
    """Convert a graph in fp32 and in the recipe's precision, execute both as saved, and compare with PyTorch."""
    torch.set_num_threads(1)
    started = time.monotonic()
    student = load_student(task.checkpoint)
    captured = capture(student, task.spec, bank_tokens=task.bank_tokens)
    with np.load(task.inputs, allow_pickle=False) as archive:
        inputs = {name: archive[name] for name in archive.files}
    engine = TorchEngine(student, bank_tokens=task.bank_tokens, tuned=False)  # what was exported, to the last kernel
    reference = engine.run(task.spec.id, inputs)
    shipped = graph_precision(task.recipe, task.spec.graph)
    gates: list[GateResult] = []
    for precision in dict.fromkeys(("fp32", shipped)):
        package = task.folder / f"{task.spec.id}.{precision}.mlpackage"
        convert(captured, package, precision=precision, student_size=student.config.name)
        gates += gate_package(package, task.spec, inputs, reference, precision=precision, recipe=task.recipe)
    final = task.folder / f"{task.spec.id}.mlpackage"
    shutil.rmtree(final, ignore_errors=True)
    (task.folder / f"{task.spec.id}.{shipped}.mlpackage").rename(final)
    shutil.rmtree(task.folder / f"{task.spec.id}.fp32.mlpackage", ignore_errors=True)
    return GraphOutcome(task.spec.id, final, tuple(gates), time.monotonic() - started)


def gate_package(
    package: Path, spec: GraphSpec, inputs: Tensors, reference: Tensors, *, precision: str, recipe: str
) -> list[GateResult]:
    """Execute a saved package on real inputs and hold its outputs against PyTorch's.

    A graph that the recipe ships in fp32 gets its results under both names, since the same file serves both.
    """
    program = Program(package, precision="declared")
    outputs = program.run({name: np.ascontiguousarray(value) for name, value in inputs.items()})
    names = ["fp32"] if precision == "fp32" else [recipe]
    if precision == graph_precision(recipe, spec.graph) and recipe not in names:
        names.append(recipe)
    return [
        result
        for name in names
        for result in graph_gate(spec, reference, outputs, precision=name, engine="ML Program reference semantics")
    ]
