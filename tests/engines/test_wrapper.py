"""An engine around another one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from sam2lite_mobile.contract import graph_spec
from sam2lite_mobile.engines.wrapper import EngineWrapper
from tests.runtime.scripted_engine import ScriptedEngine


class NotingEngine(ScriptedEngine):
    """Notes what it was asked to make ready."""

    def __init__(self) -> None:
        super().__init__(bank_tokens=200, sizes=(256, 304))
        self.asked: list[object] = []

    def load(self, graph_ids: Iterable[str]) -> None:
        self.asked.append(list(graph_ids))

    def warm_up(self, size: int) -> None:
        self.asked.append(size)


def test_every_call_is_passed_on() -> None:
    inner = NotingEngine()
    wrapper = EngineWrapper(inner)
    assert (wrapper.bank_tokens, wrapper.sizes, wrapper.describe()) == (200, (256, 304), inner.describe())
    wrapper.load(["token_gate"])
    wrapper.warm_up(304)
    assert inner.asked == [["token_gate"], 304]
    spec = graph_spec("prompt_encoder", 256, bank_tokens=200)
    tensors = {tensor.name: np.ones(tensor.shape, np.float32) for tensor in spec.inputs}
    outputs = wrapper.run(spec.id, tensors)
    assert inner.runs == {"prompt_encoder": 1}
    assert np.array_equal(outputs["prompt_tokens"][..., 2], tensors["labels"])
