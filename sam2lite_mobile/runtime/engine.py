"""The engine: what the runtime asks of a framework. It imports none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class EngineDescription:
    """What ran the graphs, for reports: never compared, never parsed.

    name: "torch", "coreml" ...; precision: the recipe ("fp32", "fp16", "w8", "w8a8"); threads: 0 where the framework
    does not say; version: of the framework; detail: compute unit, delegate or whatever else decides the speed.
    """

    name: str
    precision: str
    threads: int
    version: str
    detail: str = ""


class Engine(Protocol):
    """Runs the five graphs of the contract, one at a time, from one thread.

    Graphs are named by `contract.graph_id`. Tensors are float32, C-contiguous, with the names and shapes of
    `contract.graph_spec(graph, size, bank_tokens=engine.bank_tokens)`.
    """

    @property
    def bank_tokens(self) -> int:
        """B, the bank budget that the graphs were built for."""
        ...

    @property
    def sizes(self) -> tuple[int, ...]:
        """Input sizes R in pixels for which there are graphs, ascending."""
        ...

    def load(self, graph_ids: Iterable[str]) -> None:
        """Make these graphs ready, so that `run` does not have to. `run` loads a graph that is not loaded."""
        ...

    def warm_up(self, size: int) -> None:
        """Run every graph of input size `size` once on zeros, so that the first frame is not the slow one."""
        ...

    def run(self, graph_id: str, tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Outputs of one graph by name.

        The engine neither writes nor keeps `tensors` (some are read-only views of the memory bank), and never
        writes again to an array that it returned: the tracker keeps them from one call to the next.
        """
        ...

    def describe(self) -> EngineDescription:
        """What runs the graphs."""
        ...
