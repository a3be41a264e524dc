"""ExecuTorch with the Vulkan delegate: one program for each graph and size, lowered here and executed nowhere here.

What the gates measure is the graph in each file, followed in torch, and what can be counted in it. The manifest says
`executed` false.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from converters.capture import CapturedGraph
from converters.executorch.samples import spec_of
from converters.executorch.single import SinglePrograms, write_program
from converters.executorch.vulkan_delegate import lower_to_vulkan
from converters.executorch.vulkan_engine import SEMANTICS, FollowedProgram, FollowingEngine
from converters.executorch.vulkan_graph import PREPACK, missing_weights, strange_constants
from converters.operations import Operation, Operations
from converters.target import GraphPrecision, Tensors
from sam2lite_mobile.runtime.engine import Engine

LAYERS = ("linear", "convolution", "conv_with_clamp")
_FLOATS = {"FLOAT16": "float16", "FLOAT32": "float32"}


class ExecutorchVulkan(SinglePrograms):
    """For GPUs with Vulkan. The shipped precision is float16; float32 is written for the structural gate alone."""

    name = "executorch-vulkan"
    runtime = "executorch_vulkan"
    recipes = ("fp16",)
    tools = ("torch", "executorch", "numpy", "flatbuffers")
    runs_as = SEMANTICS
    readme = "VULKAN.md"

    def convert(self, graph: CapturedGraph, path: Path, *, precision: GraphPrecision, student_size: str) -> None:
        """A program whose method takes and gives float32, and computes in float32 or float16."""
        where = f"{graph.spec.id} in {precision.name}"
        data = lower_to_vulkan(graph.program, precision=precision.name, recipe=precision.name, where=where)
        write_program(path, data, graph.spec)

    def lowering(self, graph: CapturedGraph, path: Path) -> Mapping[str, float]:
        """What every program is counted for, and: operators that the delegate's registry does not list, weights of the
        student that the file does not hold, and constants of more than one number that are none of the student's.
        """
        counted = super().lowering(graph, path)
        if counted["delegate_calls"] != 1 or counted["operations_outside"]:
            return counted  # nothing to look into
        held = FollowedProgram(path).graph
        constants = [value for value in graph.program.constants.values() if isinstance(value, torch.Tensor)]
        own = [*graph.program.state_dict.values(), *constants]
        weights = {
            name: graph.program.state_dict[name] for name in graph.program.graph_signature.inputs_to_parameters.values()
        }
        return dict(counted) | {
            "unknown_operators": len(held.unknown_operators()),
            "missing_weights": len(missing_weights(held, weights)),
            "strange_constants": strange_constants(held, own),
        }

    def execute(self, path: Path, inputs: Tensors) -> dict[str, NDArray[np.float32]]:
        """The graph in the file, followed in torch. path: `<graph id>[.<precision>].pte`."""
        return FollowedProgram(path).run(spec_of(path.name.partition(".")[0], inputs), inputs)

    def operations(self, path: Path) -> Operations:
        """Read back from the graph in the file."""
        graph = FollowedProgram(path).graph
        found = Operations()
        for place, (name, values) in enumerate(zip(graph.operators, graph.types, strict=True)):
            if name == PREPACK:
                continue
            word = name.split(".")[1]
            weights = graph.weights_of(place) if word in LAYERS else ""
            found[Operation(word, _FLOATS.get(weights, weights), _FLOATS.get(values, values.lower()))] += 1
        return found

    def engine(self, folder: Path) -> Engine:
        """The graphs of the files, followed in torch."""
        return FollowingEngine(folder)
