"""Operations of graphs, the machine's peak and its shares, sweeps and what the student is run as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sam2lite_mobile.contract import BANK_TOKENS, CHANNELS, SIZES, TOKENS_PER_FRAME
from sam2lite_mobile.evaluation.bench.clip import Clip
from sam2lite_mobile.evaluation.bench.clocks import Times
from sam2lite_mobile.evaluation.bench.flops import graph_flops, module_flops
from sam2lite_mobile.evaluation.bench.graph_work import measured_work
from sam2lite_mobile.evaluation.bench.matrix_product import (
    OPERATIONS,
    MatrixProduct,
    machine_peak,
    peak_notes,
    peak_share,
)
from sam2lite_mobile.evaluation.bench.opening import Package, PackageSpec, StudentSpec, open_subject
from sam2lite_mobile.evaluation.bench.students import student_subject
from sam2lite_mobile.evaluation.bench.subjects import TOTAL, FrameTimes, SubjectFacts, Variant
from sam2lite_mobile.evaluation.bench.sweep import sweep_points, sweep_specs, sweeps
from sam2lite_mobile.evaluation.bench.sweep_plot import sweep_picture
from sam2lite_mobile.evaluation.bench.tracker_subject import TrackerSubject
from sam2lite_mobile.runtime.engine import EngineDescription
from tests.media.clips import square_frame, square_mask
from tests.runtime.scripted_engine import ScriptedEngine

ENGINE = EngineDescription("scripted", "fp32", 1, "1")


def square_clip(frames: int = 4) -> Clip:
    return Clip("square", tuple(square_frame(step) for step in range(frames)), square_mask(0))


def frame(**cpu_ms: float) -> FrameTimes:
    """A frame of parts by processor time; each waited as long again."""
    parts = {name: Times(2 * value, value) for name, value in cpu_ms.items()}
    return FrameTimes(parts | {TOTAL: Times(99, 99)}, {}, True)


def test_multiply_add_counts_as_two_operations() -> None:
    linear = nn.Linear(3, 5)
    assert module_flops(linear, {"input": torch.zeros(2, 3)}) == 2 * (2 * 3 * 5)
    convolution = nn.Conv2d(4, 6, kernel_size=3, padding=1)
    assert module_flops(convolution, {"input": torch.zeros(1, 4, 7, 8)}) == 2 * (7 * 8) * (4 * 3 * 3) * 6
    depthwise = nn.Conv2d(4, 4, kernel_size=3, padding=1, groups=4)
    assert module_flops(depthwise, {"input": torch.zeros(1, 4, 7, 8)}) == 2 * (7 * 8) * (3 * 3) * 4


def test_operations_of_the_gate_are_those_of_its_three_layers() -> None:
    tokens = BANK_TOKENS + TOKENS_PER_FRAME
    counts = graph_flops("nano", size=256, bank_tokens=BANK_TOKENS)
    assert counts["token_gate"] == 2 * tokens * ((2 * CHANNELS + 3) * 128 + 128 * 64 + 64)
    smaller = graph_flops("nano", size=256, bank_tokens=128)
    assert smaller["token_gate"] == counts["token_gate"] * (128 + TOKENS_PER_FRAME) // tokens
    assert smaller["image_encoder"] == counts["image_encoder"]
    assert graph_flops("toy", size=256, bank_tokens=128) == {}


def test_matrix_product_times_every_library_on_equal_factors() -> None:
    product = MatrixProduct()
    with torch.inference_mode():
        results = [np.asarray(each()) for each in product._products.values()]
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=1e-2)
    parts = product.step().parts
    assert {"torch.mm", "numpy", TOTAL} <= set(parts)
    assert sum(times.cpu_ms for name, times in parts.items() if name != TOTAL) == pytest.approx(parts[TOTAL].cpu_ms)


def test_fastest_library_stands_for_the_peak_and_shares_are_taken_round_by_round() -> None:
    # The processor is ten times slower in the second round: a share of medians would be another one.
    products = [frame(slow=20, fast=10), frame(slow=200, fast=100), frame(slow=9, fast=10)]
    peak = machine_peak(products)
    assert (peak.library, peak.cpu_ms) == ("fast", (10, 100, 10))
    assert peak.gflops == pytest.approx(OPERATIONS / 0.010 / 1e9)
    mine = [frame(graph=5), frame(graph=50), frame(graph=20)]
    assert peak_share(OPERATIONS // 4, mine, "graph", peak) == pytest.approx(0.5)


def test_work_is_that_of_float_subjects_and_of_graphs_that_ran() -> None:
    facts = [
        SubjectFacts(variant.name(256), 256, None, 128, ENGINE, "all", variant)
        for variant in (Variant("nano", "tflite"), Variant("nano", "tflite", "w8a8"), Variant("toy", "onnx"))
    ]
    facts.append(SubjectFacts("edgetam@1024", 1024, None, 1, ENGINE, "all"))
    frames = {each.name: [frame(token_gate=1.0)] for each in facts}
    peak, work = measured_work(facts, frames, product=[frame(numpy=10)])
    assert set(work) == {"nano tflite fp32@256", "toy onnx fp32@256"}
    assert work["toy onnx fp32@256"] == {}
    (gate,) = work["nano tflite fp32@256"].values()
    assert gate.flops == graph_flops("nano", size=256, bank_tokens=128)["token_gate"]
    assert gate.gflops == pytest.approx(gate.flops / 0.001 / 1e9)
    assert gate.peak_share == pytest.approx(gate.gflops / peak.gflops)


def test_product_on_more_threads_than_allowed_is_noted() -> None:
    two_threads = FrameTimes({"numpy": Times(10, 19), "torch.mm": Times(10, 10), TOTAL: Times(20, 29)}, {}, True)
    (note,) = peak_notes([two_threads], threads=1)
    assert note.startswith("the matrix product of numpy used 1.9 processors where 1 were allowed")
    assert peak_notes([two_threads], threads=2) == []


def test_every_object_has_a_decoding_and_a_full_bank_of_its_own() -> None:
    engine = ScriptedEngine()
    subject = TrackerSubject("x", engine, square_clip(), size=256, objects=3)
    subject.prepare()
    before = engine.runs.copy()
    assert subject.step().remembered
    assert {graph: count - before[graph] for graph, count in engine.runs.items() if count != before[graph]} == {
        "image_encoder": 1,
        "mask_decoder": 3,
        "memory_encoder": 3,
        "token_gate": 3,
    }


def test_eager_student_is_run_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    from sam2lite_mobile.engines import torch_engine

    tuned: list[str] = []
    original = torch_engine.tuned_graph
    monkeypatch.setattr(
        torch_engine, "tuned_graph", lambda student, name: (tuned.append(name), original(student, name))[1]
    )
    eager = student_subject("nano", square_clip(), size=256, tuned=False)
    assert (eager.facts.name, tuned) == ("nano eager@256", [])
    ours = student_subject("nano", square_clip(), size=256)
    assert (ours.facts.name, len(tuned)) == ("nano@256", 5)
    for subject in (eager, ours):
        assert subject.step().remembered


def test_specifications_and_subjects_have_the_same_names() -> None:
    spec = StudentSpec("nano", 256, tuned=False, bank_tokens=128, objects=2)
    subject = open_subject(spec, square_clip(), threads=torch.get_num_threads())
    assert subject.facts.name == spec.name == "nano eager@256, 128 tokens, 2 objects"
    assert subject.facts.bank_tokens == 128


PACKAGE = Package(Path("p"), Variant("tiny", "onnx", "w8a8"), (256, 512), BANK_TOKENS, 1, "0" * 64)


def test_sweep_has_all_sizes_four_budgets_and_four_objects() -> None:
    points = sweep_points([PACKAGE])
    torch_line = "nano torch fp32"
    assert [point.value for point in points if (point.axis, point.line) == ("size", torch_line)] == list(SIZES)
    assert [point.value for point in points if point.axis == "tokens"] == [128, 256, 384, 512]
    objects = [point for point in points if point.axis == "objects"]
    assert [(point.line, point.value) for point in objects] == [
        *((f"{torch_line}, 512 px", count) for count in (1, 2, 3, 4)),
        *(("tiny onnx w8a8, 512 px", count) for count in (1, 2, 3, 4)),
    ]
    sizes_of_package = [point.spec for point in points if (point.axis, point.line) == ("size", "tiny onnx w8a8")]
    assert sizes_of_package == [PackageSpec(PACKAGE, 256), PackageSpec(PACKAGE, 512)]


def test_point_on_several_axes_is_run_once_and_stands_on_each() -> None:
    points = sweep_points([])
    specs = sweep_specs(points)
    names = [spec.name for spec in specs]
    assert len(names) == len(set(names)) == 6 + 3 + 3
    frames = {name: [frame(mask_decoder=index)] for index, name in enumerate(names, start=1)}
    at = {
        (sweep.axis, point.value): point.parts_ms["mask_decoder"]
        for sweep in sweeps(points, frames)
        for point in sweep.points
    }
    assert at["size", 512] == at["tokens", BANK_TOKENS] == at["objects", 1]
    assert at["tokens", 128] != at["size", 512]


def test_equal_sweeps_give_equal_pictures_with_axes_and_legend() -> None:
    points = sweep_points([PACKAGE])
    frames = {spec.name: [frame(mask_decoder=1)] for spec in sweep_specs(points)}
    for sweep, label in zip(
        sweeps(points, frames), ("input size, px", "tokens of the memory bank", "objects"), strict=True
    ):
        picture = sweep_picture(sweep)
        assert picture == sweep_picture(sweep)
        text = picture.decode()
        assert all(words in text for words in (label, "median ms a frame", *(point.line for point in sweep.points)))
