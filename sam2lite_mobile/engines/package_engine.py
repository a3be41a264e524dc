"""What engines on packages share: finding the graphs of a folder, its sizes and its bank's budget, warming up."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.contract import GRAPHS, SIZED_GRAPHS, SIZES, graph_id, graph_spec
from sam2lite_mobile.errors import ContractError, PackageError, explain


class PackageEngine(ABC):
    """An engine whose graphs lie in a folder; see `runtime.engine.Engine`.

    A subclass sets `_sizes` and `_bank_tokens` when it is made, and loads a graph in `_prepare`.
    """

    _sizes: tuple[int, ...]
    _bank_tokens: int

    @property
    def bank_tokens(self) -> int:
        """B, read from the mask decoder's memory keys."""
        return self._bank_tokens

    @property
    def sizes(self) -> tuple[int, ...]:
        """Input sizes R for which every graph exists, ascending."""
        return self._sizes

    def load(self, graph_ids: Iterable[str]) -> None:
        """Load these graphs now; the others are loaded when they first run."""
        for name in graph_ids:
            self._prepare(name)

    def warm_up(self, size: int) -> None:
        """Run every graph of input size `size` once on zeros. Raises ContractError for a size without graphs."""
        if size not in self._sizes:
            raise not_offered("size", self._sizes, size)
        for graph in GRAPHS:
            spec = graph_spec(graph, size, bank_tokens=self._bank_tokens)
            self.run(spec.id, {tensor.name: np.zeros(tensor.shape, np.float32) for tensor in spec.inputs})

    @abstractmethod
    def run(self, graph_id: str, tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Outputs of one graph by name, in arrays that are never written again."""

    @abstractmethod
    def _prepare(self, name: str) -> object:
        """Load a graph, once. Raises ContractError for one that the folder does not have."""


def graph_files(folder: Path, suffix: str) -> dict[str, Path]:
    """The files or folders `<graph id><suffix>` of a folder, by graph id."""
    known = "|".join([*(f"{g}_({'|'.join(map(str, SIZES))})" for g in SIZED_GRAPHS), *GRAPHS])
    return {path.stem: path for path in sorted(folder.glob(f"*{suffix}")) if re.fullmatch(known, path.stem)}


def complete_sizes(found: Iterable[str], *, where: str, build: str) -> tuple[int, ...]:
    """Input sizes R, ascending, for which every graph is among the ids `found`.

    Raises PackageError where there is none. where: what was looked at; build: what makes a complete one.
    """
    ids = set(found)
    sizes = tuple(size for size in SIZES if all(graph_id(graph, size) in ids for graph in GRAPHS))
    if not sizes:
        raise PackageError(
            explain(
                where,
                expected=f"{', '.join(graph_id(graph, SIZES[-1]) for graph in GRAPHS)}, or another size",
                got=", ".join(sorted(ids)) or "none",
                do=build,
            )
        )
    return sizes


def bank_tokens_of(key_shapes: Mapping[str, tuple[int, ...]], *, build: str) -> int:
    """B from the shapes (1, B, channels) of the memory keys that each mask decoder takes, by graph id.

    Raises PackageError where a shape is another one, or the decoders disagree.
    """
    for name, shape in key_shapes.items():
        if len(shape) != 3:
            raise PackageError(
                explain(f"{name}: memory_keys", expected="[1, bank tokens, channels]", got=list(shape), do=build)
            )
    found = {shape[1] for shape in key_shapes.values()}
    if len(found) != 1:
        raise PackageError(
            explain("bank budget of the mask decoders", expected="one for all sizes", got=sorted(found), do=build)
        )
    return int(found.pop())


def not_offered(what: str, allowed: Iterable[object], got: object) -> ContractError:
    """The error for a name or number that an engine does not have."""
    return ContractError(
        explain(what, expected=f"one of {', '.join(map(str, allowed))}", got=got, do="name one of these")
    )
