"""Rounding to the declared type, fp16 accumulation, and the counts of what they lose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.mlprogram import Program
from sam2lite_mobile.mlprogram.ops import accumulation
from tests.mlprogram import cases_network
from tests.mlprogram.building import Case, as_tensor, feeds, floats, mb, save_program


def _run(program: Program, *arrays: np.ndarray) -> np.ndarray:
    (got,) = program.run(feeds(arrays)).values()
    return got


@pytest.fixture
def cube(tmp_path: Path) -> Path:
    """x * x * x in fp16: two results that are rounded."""
    return save_program(
        tmp_path, lambda a: mb.mul(x=mb.mul(x=a, y=a, name="square"), y=a, name="cube"), [floats(4)], half=True
    )


def test_unknown_precision_is_refused(cube: Path) -> None:
    with pytest.raises(ContractError, match="expected declared, fp32, pessimistic, got 'fp8'"):
        Program(cube, precision="fp8")


def test_declared_rounds_the_input_and_each_result(cube: Path) -> None:
    values = np.array([0.1, 1.001, 3.3, -7.7], np.float32)
    x = values.astype(np.float16).astype(np.float32)
    square = (x * x).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(_run(Program(cube), values), (square * x).astype(np.float16))
    np.testing.assert_array_equal(_run(Program(cube, precision="fp32"), values), values * values * values)


def test_overflow_and_flush_are_counted_where_they_happen(cube: Path) -> None:
    program = Program(cube)
    assert program.report().events == ()
    # 300^2 overflows (65504 is the largest), 40^3 does not, 41^3 does; 1e-3 survives squared, not cubed
    _run(program, np.array([300, 40, 41, 1e-3], np.float32))
    _run(program, np.array([0, 1, -300, 1e-3], np.float32))
    report = program.report()
    assert report.runs == 2
    assert [(e.name, e.op, e.overflowed, e.flushed) for e in report.events] == [
        ("square", "mul", 2, 0),
        ("cube", "mul", 1, 2),  # a product with infinity was infinite before rounding
    ]
    assert (report.overflowed, report.flushed, report.saturated) == (3, 2, 0)


def test_flush_is_not_counted_for_zeros_and_subnormals(cube: Path) -> None:
    program = Program(cube)
    _run(program, np.array([0.0, -0.0, 0.01, 0.004], np.float32))
    assert program.report().flushed == 0


def test_fp32_precision_counts_nothing(cube: Path) -> None:
    program = Program(cube, precision="fp32")
    assert np.isfinite(_run(program, np.array([300, 40, 41, 1e-3], np.float32))).all()
    assert program.report().events == ()


def test_saturation_of_quantize_is_counted(tmp_path: Path) -> None:
    def build(a):
        q = mb.quantize(input=a, scale=np.float32(1), output_dtype="int8", name="q")
        return mb.dequantize(input=q, scale=np.float32(1))

    program = Program(save_program(tmp_path, build, [floats(4)]), precision="fp32")
    assert _run(program, np.array([127.4, 127.6, -128.4, -200], np.float32)).tolist() == [127, 127, -128, -128]
    assert [(e.name, e.saturated) for e in program.report().events] == [("q", 2)]


def test_data_that_only_moves_is_not_rounded_again(tmp_path: Path) -> None:
    def build(a):
        return mb.transpose(x=mb.concat(values=[a, mb.relu(x=a)], axis=0), perm=[1, 0])

    program = Program(save_program(tmp_path, build, [floats(2, 3)], half=True))
    assert [result.round for step in program._plan.steps for result in step.results] == [None] * 3
    values = floats(2, 3)
    half = values.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(_run(program, values), np.concatenate([half, np.maximum(half, 0)]).T)


def test_cast_to_fp16_rounds_and_leaves_its_argument_alone(tmp_path: Path) -> None:
    def build(a):
        x = mb.sin(x=a)
        half = mb.cast(x=mb.cast(x=x, dtype="fp16"), dtype="fp32")
        return mb.sub(x=x, y=half)

    values = floats(5)
    sine = torch.sin(as_tensor(values))
    got = _run(Program(save_program(tmp_path, build, [values])), values)
    np.testing.assert_array_equal(got, (sine - sine.half().float()).numpy())


def test_pessimistic_sum_forgets_what_fp16_cannot_hold(tmp_path: Path) -> None:
    # after a chunk that sums to 2048, fp16 steps are 2: chunks of 1 are rounded away one after the other
    path = save_program(
        tmp_path, lambda a: mb.reduce_sum(x=a, axes=[1]), [floats(1, 3 * accumulation.CHUNK)], half=True
    )
    values = np.zeros((1, 3, accumulation.CHUNK), np.float32)
    values[0, 0, 0], values[0, 1:, 0] = 2048, 1
    flat = values.reshape(1, -1)
    assert _run(Program(path), flat)[0] == 2050
    assert _run(Program(path, precision="pessimistic"), flat)[0] == 2048


def test_chunked_sum_is_exact_inside_a_chunk() -> None:
    values = torch.tensor([[2048.0] + [1.0] * (accumulation.CHUNK - 1)])
    assert accumulation.sum_over(values, (1,), keep_dims=False).item() == accumulation.half(values.sum()).item()


def test_chunked_products_equal_the_plain_ones_where_fp16_is_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    small = {"low": -2, "high": 3, "generator": generator}
    x, y = torch.randint(size=(2, 5, 70), **small).float(), torch.randint(size=(2, 70, 3), **small).float()
    assert torch.equal(accumulation.matmul(x, y), x @ y)
    image = torch.randint(size=(1, 12, 6, 5), **small).float()
    for groups in (1, 2):
        kernel = torch.randint(size=(4, 12 // groups, 3, 3), **small).float()
        plain = torch.nn.functional.conv2d(image, kernel, groups=groups)
        got = accumulation.channels(
            lambda a, w, g=groups: torch.nn.functional.conv2d(a, w, groups=g),
            image,
            kernel,
            groups=groups,
            transposed=False,
        )
        assert torch.equal(got, plain)
        spread = torch.randint(size=(12, 4, 2, 2), **small).float()
        plain = torch.nn.functional.conv_transpose2d(image, spread, groups=groups)
        got = accumulation.channels(
            lambda a, w, g=groups: torch.nn.functional.conv_transpose2d(a, w, groups=g),
            image,
            spread,
            groups=groups,
            transposed=True,
        )
        assert torch.equal(got, plain)


@pytest.mark.parametrize(
    "case",
    [
        *(case for case in cases_network.LINEAR if case.op != "einsum"),  # float32 inside in every precision
        *cases_network.CONVOLUTION[:11],
        *(case for case in cases_network.NORMALIZATION if case.op != "batch_norm"),  # sums nothing
        *(case for case in cases_network.REDUCTION if case.op in ("reduce_mean", "reduce_sum_square", "softmax")),
    ],
    ids=lambda case: case.id,
)
def test_pessimistic_fp16_differs_and_stays_near(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accumulation, "CHUNK", 2)  # so that these small sums have several chunks
    path = save_program(tmp_path, case.build, case.inputs, ios=case.ios, compute_half=True)
    exact = case.reference(*[as_tensor(array) for array in case.inputs]).numpy()
    declared = _run(Program(path), *case.inputs)
    pessimistic = _run(Program(path, precision="pessimistic"), *case.inputs)
    assert not np.array_equal(declared, pessimistic)
    assert np.abs(pessimistic - exact).max() < 0.01 * np.abs(exact).max()
