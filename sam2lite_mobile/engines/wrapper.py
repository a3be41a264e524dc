"""An engine around another one: what recording, timing and replacing graphs have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.runtime.engine import Engine, EngineDescription


class EngineWrapper:
    """Passes every call on to `inner`, an engine. A subclass overrides what it does otherwise, mostly `run`."""

    def __init__(self, inner: Engine) -> None:
        self._inner = inner

    @property
    def bank_tokens(self) -> int:
        """B of the inner engine."""
        return self._inner.bank_tokens

    @property
    def sizes(self) -> tuple[int, ...]:
        """Input sizes of the inner engine."""
        return self._inner.sizes

    def load(self, graph_ids: Iterable[str]) -> None:
        """Load the inner engine's graphs."""
        self._inner.load(graph_ids)

    def warm_up(self, size: int) -> None:
        """Warm the inner engine up."""
        self._inner.warm_up(size)

    def run(self, graph_id: str, tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """The inner engine's outputs."""
        return self._inner.run(graph_id, tensors)

    def describe(self) -> EngineDescription:
        """What runs the inner engine's graphs."""
        return self._inner.describe()
