"""Converting and gating one graph: the unit of work that build processes share among themselves."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from converters.gates import graph_gate, lowering_gate, require_passed
from converters.registry import open_target
from converters.target import GraphPrecision, Target, Tensors
from sam2lite_mobile.contract import GraphSpec
from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.package.manifest import GateResult
from sam2lite_mobile.quantization.policy import graph_precision, precision_policy
from sam2lite_mobile.quantization.ranges import LayerRanges
from sam2lite_mobile.student.checkpoint import load_student


@dataclass(frozen=True)
class GraphTask:
    """A graph to convert: its recorded inputs as .npz, and the folder that gets `<id><suffix>`.

    ranges: of the student's layers with 8-bit activations, for recipes that have such.
    """

    target: str
    checkpoint: Path
    spec: GraphSpec
    bank_tokens: int
    recipe: str
    ranges: Mapping[str, LayerRanges] | None
    inputs: Path
    folder: Path


@dataclass(frozen=True)
class GraphOutcome:
    """The written model, its gates (structural fp32 first, then the shipped precision) and the time it took."""

    id: str
    model: Path
    gates: tuple[GateResult, ...]
    seconds: float


def convert_and_gate(task: GraphTask) -> GraphOutcome:
    """Convert a graph in fp32 and in the recipe's precision, execute both as saved, and compare with PyTorch."""
    torch.set_num_threads(1)
    started = time.monotonic()
    chosen = open_target(task.target)
    student = load_student(task.checkpoint)
    captured = chosen.capture(student, task.spec, bank_tokens=task.bank_tokens)
    with np.load(task.inputs, allow_pickle=False) as archive:
        inputs = {name: archive[name] for name in archive.files}
    engine = TorchEngine(student, bank_tokens=task.bank_tokens, tuned=False)  # what was exported, to the last kernel
    reference = engine.run(task.spec.id, inputs)
    shipped = graph_precision(precision_policy(task.recipe), student, task.spec.graph)
    gates: list[GateResult] = []
    written: dict[str, Path] = {}
    for name in dict.fromkeys(("fp32", shipped)):
        written[name] = task.folder / f"{task.spec.id}.{name}{chosen.suffix}"
        precision = GraphPrecision(name, precision_policy(name), task.ranges)
        chosen.convert(captured, written[name], precision=precision, student_size=student.config.name)
        names = ["fp32"] if name == "fp32" else []
        if name == shipped and task.recipe not in names:
            names.append(task.recipe)
        counted = chosen.lowering(captured, written[name])
        gates += [result for each in names for result in lowering_gate(task.spec, counted, precision=each)]
        require_passed(gates)  # what is not in the delegate as it should be is not worth running
        gates += gate_model(chosen, written[name], task.spec, inputs, reference, precisions=names)
    final = task.folder / f"{task.spec.id}{chosen.suffix}"
    remove(final)
    written.pop(shipped).rename(final)
    for other in written.values():
        remove(other)
    return GraphOutcome(task.spec.id, final, tuple(gates), time.monotonic() - started)


def gate_model(
    chosen: Target, path: Path, spec: GraphSpec, inputs: Tensors, reference: Tensors, *, precisions: list[str]
) -> list[GateResult]:
    """Execute a saved graph on real inputs and hold its outputs against PyTorch's.

    precisions: names that its results go by; a graph that a recipe ships in fp32 serves both.
    """
    outputs = chosen.execute(path, inputs)
    return [
        result
        for name in precisions
        for result in graph_gate(spec, reference, outputs, target=chosen.name, precision=name, engine=chosen.runs_as)
    ]


def remove(path: Path) -> None:
    """Remove a file or a folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
