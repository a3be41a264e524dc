"""The gates measure what they say, and each of them can fail: sabotaged students are caught by name."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from converters.capture import capture
from converters.coreml.export import convert
from converters.gates import (
    clip_gate,
    graph_gate,
    mask_iou,
    median_frame_gate,
    require_passed,
    snr_db,
    worst_frame_gate,
)
from converters.limits import GRAPH_LIMITS, graph_limit
from converters.target import GraphPrecision
from sam2lite_mobile import contract
from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.errors import GateError
from sam2lite_mobile.mlprogram import Program
from sam2lite_mobile.package.manifest import GateResult
from sam2lite_mobile.quantization.policy import precision_policy
from sam2lite_mobile.student.student import Student
from tests.converters.conftest import SIZE, Toy


def swap_a_weight(student: Student) -> None:
    """The query weights of the anchors' read in place of the recent read's, and of two layers of the decoder."""
    layer = student.mask_decoder.layers[0]
    layer.cross_attention.query.weight, layer.cross_attention.key.weight = (
        layer.cross_attention.key.weight,
        layer.cross_attention.query.weight,
    )
    head = student.mask_decoder.head
    head.mix_4.weight, head.out.weight = head.out.weight, head.mix_4.weight
    block = student.image_encoder.blocks[0].attention
    block.query.weight, block.value.weight = block.value.weight, block.query.weight


def change_an_epsilon(student: Student) -> None:
    for module in student.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-2


class Transposed(nn.Module):
    """A convolution that sees rows as columns."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.inner(x.transpose(2, 3))
        return result


def transpose_an_axis(student: Student) -> None:
    student.mask_decoder.head.detail_4 = Transposed(student.mask_decoder.head.detail_4)  # type: ignore[assignment]
    student.image_encoder.detail_8 = Transposed(student.image_encoder.detail_8)  # type: ignore[assignment]


SABOTAGE = [swap_a_weight, change_an_epsilon, transpose_an_axis]
"""Each is caught below. That honest graphs pass, in fp32 and fp16, is in a package's manifest (`test_build.py`)."""
FULL_SIZE = [pytest.param(swap_a_weight, marks=pytest.mark.slow), transpose_an_axis]
"""On the default student, whose decoder takes long to convert and to track with: one here, the other in `slow`."""


def gate_of(toy: Toy, student: Student, graph: str, precision: str, folder: Path) -> list[GateResult]:
    """The gates of a (sabotaged) student's converted graph against the honest student in PyTorch."""
    spec = contract.graph_spec(graph, SIZE)
    package = folder / f"{spec.id}.mlpackage"
    captured = capture(student, spec, bank_tokens=contract.BANK_TOKENS)
    convert(captured, package, precision=GraphPrecision(precision, precision_policy(precision)), student_size="toy")
    outputs = Program(package).run(toy.inputs[spec.id])
    reference = toy.engine.run(spec.id, toy.inputs[spec.id])
    return graph_gate(spec, reference, outputs, target="coreml", precision=precision, engine="test")


@pytest.mark.parametrize("sabotage", SABOTAGE)
@pytest.mark.parametrize("graph", ["image_encoder", "mask_decoder"])
def test_structural_gate_catches_sabotage(
    toy: Toy, graph: str, sabotage: Callable[[Student], None], tmp_path: Path
) -> None:
    student = toy.student()
    sabotage(student)
    results = gate_of(toy, student, graph, "fp32", tmp_path)
    with pytest.raises(GateError, match=rf"{graph}_{SIZE} \w+ \(fp32\): snr_db"):
        require_passed(results)


@pytest.mark.parametrize("sabotage", FULL_SIZE)
def test_gate_of_the_shipped_precision_catches_sabotage(
    shipped: Toy, sabotage: Callable[[Student], None], tmp_path: Path
) -> None:
    student = shipped.student()
    sabotage(student)
    with pytest.raises(GateError, match=rf"mask_decoder_{SIZE} mask_logits \(fp16\)"):
        require_passed(gate_of(shipped, student, "mask_decoder", "fp16", tmp_path))


@pytest.mark.parametrize("sabotage", FULL_SIZE)
def test_clip_gate_catches_sabotage(shipped: Toy, sabotage: Callable[[Student], None]) -> None:
    student = shipped.student()
    sabotage(student)
    results, frame = clip_gate(shipped.engine, TorchEngine(student), shipped.clip, size=SIZE, precision="fp16")
    assert not any(result.passed for result in results)
    assert 1 <= frame < len(shipped.clip.frames)
    with pytest.raises(GateError, match=r"worst_mask_iou .*; .* median_mask_iou"):
        require_passed(results)


def test_clip_gate_gives_one_to_the_same_engine(toy: Toy) -> None:
    results, _ = clip_gate(toy.engine, toy.engine, toy.clip, size=SIZE, precision="fp16")
    assert [result.measured for result in results] == [1, 1]
    require_passed(results)


@pytest.mark.parametrize(
    ("agreement", "passed"),
    [
        ((1.0, 0.9, 0.98, 0.99), [True, True]),
        ((1.0, 0.89, 1.0, 1.0), [False, True]),
        ((0.97, 0.98, 0.97), [True, False]),
    ],
)
def test_worst_and_median_frame_have_limits_of_their_own(agreement: tuple[float, ...], passed: list[bool]) -> None:
    clip, precision, engine = "camel, 4 frames", "w8a8", "x"
    results = [
        worst_frame_gate(agreement, sequence="camel", clip=clip, size=512, precision=precision, engine=engine),
        median_frame_gate(agreement, clip=clip, size=512, precision=precision, engine=engine),
    ]
    assert [(result.measure, result.passed) for result in results] == [
        ("worst_mask_iou", passed[0]),
        ("median_mask_iou", passed[1]),
    ]
    assert [result.measured for result in results] == [min(agreement), pytest.approx(np.median(agreement))]


def test_snr_is_ten_log_of_signal_over_noise() -> None:
    reference = np.array([3, 4], np.float32)
    assert snr_db(reference, np.array([3, 4.5], np.float32)) == pytest.approx(10 * math.log10(25 / 0.25))
    assert snr_db(reference, reference) == math.inf
    assert snr_db(reference, np.array([np.nan, 4], np.float32)) == -math.inf
    assert snr_db(np.zeros(2, np.float32), reference) == -math.inf


def test_not_finite_output_fails_its_gate() -> None:
    spec = contract.graph_spec("token_gate")
    reference, broken = ({"scores": np.full((1, 640), value, np.float32)} for value in (1, np.inf))
    results = graph_gate(
        spec,
        reference,
        broken,
        target="coreml",
        precision="fp32",
        engine="x",
    )
    with pytest.raises(GateError, match="token_gate scores"):
        require_passed(results)


def test_mask_iou_of_empty_masks_is_one() -> None:
    empty, half = np.zeros((4, 4), bool), np.arange(16).reshape(4, 4) < 8
    assert mask_iou(empty, empty) == 1
    assert mask_iou(half, empty) == 0
    assert mask_iou(half, np.ones((4, 4), bool)) == 0.5


def test_every_graph_has_a_limit_and_none_is_below_the_projects_demand() -> None:
    for precision, least in (("fp32", 90.0), ("fp16", 45.0)):
        for target, limits in GRAPH_LIMITS.items():
            if precision not in limits:
                continue  # a recipe that this target does not have
            assert set(limits[precision]) == set(contract.GRAPHS)
            assert all(graph_limit(target, precision, graph).value >= least for graph in contract.GRAPHS)
    assert not graph_limit("coreml", "fp32", "mask_decoder").holds(float("nan"))
