"""Following Vulkan programs in torch, for the gates: see `vulkan_graph.py`. No package is opened for users this way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from converters.executorch.vulkan_graph import VulkanGraph
from sam2lite_mobile.contract import GRAPHS, GraphSpec, graph_id, graph_spec
from sam2lite_mobile.engines.delegated_program import VULKAN_BACKEND, read_program
from sam2lite_mobile.engines.executorch_coreml import bank_tokens_in
from sam2lite_mobile.engines.package_engine import PackageEngine, complete_sizes, graph_files, not_offered
from sam2lite_mobile.runtime.engine import EngineDescription

SEMANTICS = "VkGraph reference semantics in torch, not executed by Vulkan"
_BUILD = "build the package again with `python -m converters executorch-vulkan`"

Tensors = Mapping[str, NDArray[np.float32]]


class FollowedProgram:
    """One program's graph. A program in float16 is followed with the formulas of the delegate's shaders.

    One in float32 is the structural check: there every operator is what ATen says, so that it has to match to rounding.
    Raises PackageError where the program is more than one call of the delegate, or its graph is broken.
    """

    def __init__(self, path: Path) -> None:
        self.source = read_program(path)
        self.source.require_backend(VULKAN_BACKEND, where=str(path))
        self.graph = VulkanGraph(self.source.data, self.source.constants, where=str(path))

    def run(self, spec: GraphSpec, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        """Outputs of a graph by the contract's names."""
        arguments = [torch.from_numpy(np.require(tensors[each.name], requirements=["C", "W"])) for each in spec.inputs]
        taken = [arguments[place] for place in self.source.takes]
        outputs = self.graph.run(taken, shader_formulas=self.source.recipe != "fp32")
        return {
            spec.outputs[place].name: output.numpy().copy()
            for place, output in zip(self.source.gives, outputs, strict=True)
        }


class FollowingEngine(PackageEngine):
    """The graphs of a folder of `<graph id>.pte`, followed in torch."""

    def __init__(self, folder: Path) -> None:
        self._files = graph_files(folder, ".pte")
        self._programs: dict[str, FollowedProgram] = {}
        self._sizes = complete_sizes(self._files, where=f"programs in {folder}", build=_BUILD)
        decoder = graph_id("mask_decoder", self._sizes[0])
        self._bank_tokens = bank_tokens_in(self._prepare(decoder).source, decoder, build=_BUILD)
        self._specs = {
            spec.id: spec
            for size in self._sizes
            for spec in (graph_spec(graph, size, bank_tokens=self._bank_tokens) for graph in GRAPHS)
        }

    def run(self, graph_id: str, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        """Outputs of one graph by name, in arrays of their own."""
        return self._prepare(graph_id).run(self._specs[graph_id], tensors)

    def describe(self) -> EngineDescription:
        """What was followed, with torch's threads."""
        recipe = self._prepare(graph_id("mask_decoder", self._sizes[0])).source.recipe
        return EngineDescription(
            "executorch-vulkan", recipe, torch.get_num_threads(), f"torch {torch.__version__}", SEMANTICS
        )

    def _prepare(self, name: str) -> FollowedProgram:
        if name not in self._programs:
            if name not in self._files:
                raise not_offered("graph", sorted(self._files), name)
            self._programs[name] = FollowedProgram(self._files[name])
        return self._programs[name]
