"""Following Vulkan programs in torch, for the gates: see `vulkan_graph.py`. No package is opened for users this way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from converters.executorch.vulkan_graph import VulkanGraph
from sam2lite_mobile.contract import GraphSpec
from sam2lite_mobile.engines.delegated_program import VULKAN_BACKEND, read_program
from sam2lite_mobile.engines.program_folder import ProgramFolderEngine, Tensors

SEMANTICS = "VkGraph reference semantics in torch, not executed by Vulkan"
_BUILD = "build the package again with `python -m converters executorch-vulkan`"


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


class FollowingEngine(ProgramFolderEngine):
    """The graphs of a folder of `<graph id>.pte`, followed in torch."""

    name = "executorch-vulkan"
    semantics = SEMANTICS
    build = _BUILD

    def open(self, path: Path) -> FollowedProgram:
        """A program whose graph is followed."""
        return FollowedProgram(path)
