"""What a target is: how a runtime's files are made from captured graphs, executed here, and laid out as a package."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from converters.capture import CapturedGraph, capture
from converters.operations import Operations
from sam2lite_mobile.contract import GraphSpec
from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.package.manifest import Manifest, Runtime
from sam2lite_mobile.quantization.policy import Policy
from sam2lite_mobile.quantization.ranges import LayerRanges
from sam2lite_mobile.runtime.engine import Engine
from sam2lite_mobile.student.student import Student

Tensors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class GraphPrecision:
    """How one graph is converted.

    name: `fp32`, `fp16`, `w8` or `w8a8`. policy: of that recipe, for the layers of a graph that mixes precisions.
    ranges: of the layers with 8-bit activations, by module name; None where there are none.
    """

    name: str
    policy: Policy
    ranges: Mapping[str, LayerRanges] | None = None

    def ranges_of(self, layer: str) -> LayerRanges:
        """Ranges of a layer by its module name. Raises ContractError where calibration has none."""
        found = (self.ranges or {}).get(layer)
        if found is None:
            raise ContractError(
                explain(f"calibration of {layer}", expected="ranges", got="none", do="calibrate with this checkpoint")
            )
        return found


class Target(ABC):
    """One runtime. Everything that a build does besides is the same for all of them (`build.py`).

    name: in the registry and the table of limits. runtime: that of the manifest; several targets may share one.
    recipes: precision recipes that it has. tools: Python packages whose version decides what it writes or measures.
    source_folders: of the repository, that its packages are made from. suffix: of a graph's file or folder.
    runs_as: what executes a file here, for the gates' results.
    """

    name: ClassVar[str]
    runtime: ClassVar[Runtime]
    recipes: ClassVar[tuple[str, ...]]
    tools: ClassVar[tuple[str, ...]]
    source_folders: ClassVar[tuple[str, ...]]
    suffix: ClassVar[str]
    runs_as: ClassVar[str]

    def capture(self, student: Student, spec: GraphSpec, *, bank_tokens: int) -> CapturedGraph:
        """A graph as it is converted from: as the student has it, unless a runtime wants it written differently."""
        return capture(student, spec, bank_tokens=bank_tokens)

    @abstractmethod
    def convert(self, graph: CapturedGraph, path: Path, *, precision: GraphPrecision, student_size: str) -> None:
        """Write the graph to `path`, the same bytes every time. Raises ConversionError where it cannot."""

    @abstractmethod
    def execute(self, path: Path, inputs: Tensors) -> dict[str, NDArray[np.float32]]:
        """The outputs of a written graph, run as it was saved."""

    @abstractmethod
    def operations(self, path: Path) -> Operations:
        """What a written graph computes with, read back from its file."""

    def lowering(self, graph: CapturedGraph, path: Path) -> Mapping[str, float]:
        """What is counted in a written graph without running it, by measure; nothing for most targets.

        Raises PackageError where the file cannot be read back.
        """
        return {}

    def assemble(self, folder: Path, graph_ids: Sequence[str]) -> None:  # noqa: B027 - nothing to do for most targets
        """Make what ships of the graphs in `folder`, where they share something; whole clips are tracked after this."""

    @abstractmethod
    def engine(self, folder: Path) -> Engine:
        """An engine on a folder of graphs, assembled."""

    @abstractmethod
    def publish(
        self, target: Path, *, models: Mapping[str, Path], manifest: Manifest, model_card: Path, licence: Path
    ) -> None:
        """Lay out the package at `target`, verified, in one step."""
