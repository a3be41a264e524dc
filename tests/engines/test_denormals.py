"""Denormals as zero: inside the block, in this thread, and not a moment longer."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from sam2lite_mobile.contract import graph_id
from sam2lite_mobile.engines import denormals
from sam2lite_mobile.engines.denormals import flushed_denormals
from sam2lite_mobile.engines.onnx_engine import OnnxEngine
from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.student.student import build_student, example_inputs

pytestmark = pytest.mark.skipif(denormals._libm() is None, reason="not x86-64 Linux with glibc")
TINY = np.full(8, 1e-39, np.float32)


def kept() -> bool:
    """Whether a denormal times one is still there."""
    return bool((TINY * np.float32(1)).any())


def test_denormals_are_zero_inside_and_numbers_again_behind() -> None:
    assert kept()
    with flushed_denormals():
        assert not kept()
        with flushed_denormals():
            assert not kept()
        assert not kept()  # the outer block is as it was
    assert kept()


def test_state_comes_back_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="inside"), flushed_denormals():
        raise RuntimeError("inside")
    assert kept()


def test_threads_that_run_already_are_not_told() -> None:
    seen: list[bool] = []
    flushed = threading.Event()

    def look() -> None:
        flushed.wait(timeout=60)
        seen.append(kept())

    thread = threading.Thread(target=look)
    thread.start()
    with flushed_denormals():
        flushed.set()
        thread.join()
    assert seen == [True]


def test_rounding_and_other_flags_stay() -> None:
    third = np.float32(1) / np.float32(3)
    with flushed_denormals():
        assert np.float32(1) / np.float32(3) == third
        assert np.float32(2.0**-126) * np.float32(1) == np.float32(2.0**-126)  # the least normal number


def test_nothing_happens_where_it_is_not_known_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denormals, "_libm", lambda: None)
    with flushed_denormals():
        assert kept()


@pytest.mark.parametrize("tuned", [True, False])
def test_torch_engine_flushes_in_its_tuned_graphs_alone(tuned: bool) -> None:
    seen: list[bool] = []
    student = build_student("nano")
    engine = TorchEngine(student, tuned=tuned)
    engine._graphs["token_gate"].register_forward_hook(
        lambda *_: seen.append(bool((torch.from_numpy(TINY) * 1.0).any()))
    )
    inputs = {name: value.numpy() for name, value in example_inputs("token_gate", 256).items()}
    engine.run(graph_id("token_gate", 256), inputs)
    assert seen == [not tuned]
    assert kept()


def test_onnx_engine_flushes_while_a_graph_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    class Session:
        def get_outputs(self) -> list[object]:
            return []

        def run(self, names: list[str], tensors: dict[str, object]) -> list[object]:
            seen.append(kept())
            return []

    engine = OnnxEngine.__new__(OnnxEngine)
    monkeypatch.setattr(engine, "_prepare", lambda name: Session())
    assert engine.run("token_gate", {}) == {}
    assert seen == [False]
    assert kept()
