"""What engines on ExecuTorch programs of one graph each share: the folder, and programs opened when needed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.contract import EXECUTORCH_MODELS_FOLDER, GRAPHS, GraphSpec, graph_id, graph_spec
from sam2lite_mobile.engines.delegated_program import DelegatedProgram
from sam2lite_mobile.engines.package_engine import (
    PackageEngine,
    bank_tokens_of,
    complete_sizes,
    graph_files,
    not_offered,
)
from sam2lite_mobile.runtime.engine import EngineDescription

Tensors = Mapping[str, NDArray[np.float32]]


class OpenProgram(Protocol):
    """A program that can be computed here, one way or another. source: as it lies on disk."""

    source: DelegatedProgram

    def run(self, spec: GraphSpec, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        """Outputs of its graph by the contract's names."""
        ...


class ProgramFolderEngine(PackageEngine):
    """Runs the graphs of the contract from a folder of `<graph id>.pte`, or from the package around it.

    Subclasses say how a program is opened (`open`), what the engine is called, and what it follows (`name`,
    `semantics`). Raises PackageError for a folder without sound programs.
    """

    name: str
    semantics: str
    build: str
    """What makes such a package, for messages."""

    def __init__(self, folder: Path | str) -> None:
        published = Path(folder) / EXECUTORCH_MODELS_FOLDER
        self._folder = published if published.is_dir() else Path(folder)
        self._files = graph_files(self._folder, ".pte")
        self._programs: dict[str, OpenProgram] = {}
        self._sizes = complete_sizes(self._files, where=f"programs in {self._folder}", build=self.build)
        decoder = graph_id("mask_decoder", self._sizes[0])
        self._bank_tokens = bank_tokens_of({decoder: self._memory_shape(decoder)}, build=self.build)
        self._specs = {
            spec.id: spec
            for size in self._sizes
            for spec in (graph_spec(graph, size, bank_tokens=self._bank_tokens) for graph in GRAPHS)
        }

    @abstractmethod
    def open(self, path: Path) -> OpenProgram:
        """The program at `path`. Raises PackageError where it is not sound."""

    def run(self, graph_id: str, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        """Outputs of one graph by name, in arrays of their own."""
        return self._prepare(graph_id).run(self._specs[graph_id], tensors)

    def describe(self) -> EngineDescription:
        """What is followed, with torch's threads."""
        import torch

        recipe = self._prepare(graph_id("mask_decoder", self._sizes[0])).source.recipe
        return EngineDescription(
            self.name, recipe, torch.get_num_threads(), f"torch {torch.__version__}", self.semantics
        )

    def _memory_shape(self, decoder: str) -> tuple[int, ...]:
        place = [tensor.name for tensor in graph_spec("mask_decoder").inputs].index("memory_keys")
        inputs = self._prepare(decoder).source.inputs
        return inputs[place].shape if place < len(inputs) else ()

    def _prepare(self, name: str) -> OpenProgram:
        if name not in self._programs:
            if name not in self._files:
                raise not_offered("graph", sorted(self._files), name)
            self._programs[name] = self.open(self._files[name])
        return self._programs[name]
