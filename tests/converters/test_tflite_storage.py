"""What a TFLite file takes: equal parts once, constants narrowed, tables in a form that takes less room."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from converters.tflite.flatbuffer import FLOAT16, FLOAT32, INT8, Graph, quantization, unpack
from converters.tflite.merge import merge
from converters.tflite.packing import pack
from converters.tflite.storage import narrow
from converters.tflite.tables import added_tables, factor_placing
from converters.tflite.target import require_delegated
from tests.tflite_models import empty_model, finish, one_operator

RNG = np.random.default_rng(0)


def executed(model: bytes, x: np.ndarray, signature: str | None = None) -> np.ndarray:
    runner = Interpreter(model_content=model, num_threads=1).get_signature_runner(signature)
    result: np.ndarray = runner(x=x)["y"]
    return result


def test_constants_are_narrowed_where_that_loses_nothing_and_biases_never() -> None:
    exact = RNG.integers(-8, 8, (16, 16)).astype(np.float32)
    bias = RNG.integers(-8, 8, 16).astype(np.float32)
    options = schema.FullyConnectedOptionsT()
    model = one_operator("FULLY_CONNECTED", (2, 16), exact, bias, options=options, out=(2, 16))
    before = pack(model)
    narrow(Graph(model), exactly=True)
    graph = Graph(model)
    assert [graph.kind(operator) for operator in graph.operators] == ["DEQUANTIZE", "FULLY_CONNECTED"]
    assert graph.type(int(graph.operators[0].inputs[0])) == FLOAT16
    x = RNG.normal(size=(2, 16)).astype(np.float32)
    assert np.array_equal(executed(pack(model), x), executed(before, x))
    require_delegated(pack(model), where="m")


@pytest.mark.parametrize(
    ("factor", "exactly", "kind"),
    [(1, True, INT8), (0.5, True, FLOAT16), (1 / 3, True, None), (1 / 3, False, FLOAT16), (1e5, False, None)],
)
def test_type_of_a_stored_table(factor: float, exactly: bool, kind: int | None) -> None:
    values = (RNG.integers(-8, 8, (16, 16)) * 1.0 + 1).astype(np.float32) * np.float32(factor)
    model = one_operator("MUL", (16, 16), values, options=schema.MulOptionsT())
    before = pack(model)
    narrow(Graph(model), exactly=exactly)
    graph = Graph(model)
    assert [graph.type(int(operator.inputs[0])) for operator in graph.operators[:-1]] == (
        [] if kind is None else [kind]
    )
    x = RNG.normal(size=(16, 16)).astype(np.float32)
    assert executed(pack(model), x) == pytest.approx(executed(before, x), rel=0 if exactly else 1e-3)
    require_delegated(pack(model), where="m")


def added(shape: tuple[int, ...]) -> tuple[Any, np.ndarray]:
    table = RNG.uniform(-3, 3, shape).astype(np.float32)
    return one_operator("ADD", (1, 32, 48), table, options=schema.AddOptionsT()), table


def test_table_added_to_tokens_is_rounded_to_a_127th_of_its_largest_value() -> None:
    model, table = added((1, 32, 48))
    narrow(Graph(model), exactly=False, integer_tables=True)
    graph = Graph(model)
    assert [graph.kind(operator) for operator in graph.operators] == ["DEQUANTIZE", "ADD"]
    assert graph.type(int(graph.operators[0].inputs[0])) == INT8
    error = executed(pack(model), np.zeros((1, 32, 48), np.float32)) - table
    step = float(np.abs(table).max()) / 127
    assert 0.4 * step < np.abs(error).max() <= 0.5001 * step
    require_delegated(pack(model), where="m")


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        (added((1, 32, 48))[0], False),  # not asked for
        (added((48,))[0], True),  # one number for each channel, as a LayerNorm's
        (one_operator("MUL", (1, 32, 48), RNG.normal(size=(1, 32, 48)).astype(np.float32)), True),
    ],
)
def test_other_constants_are_not_rounded_to_integers(model: Any, asked: bool) -> None:
    if asked:
        assert list(added_tables(Graph(model))) == []
    narrow(Graph(model), exactly=False, integer_tables=asked)
    graph = Graph(model)
    assert all(graph.type(int(op.inputs[0])) == FLOAT16 for op in graph.operators if graph.kind(op) == "DEQUANTIZE")


def placing(rows: np.ndarray, columns: np.ndarray) -> Any:
    table = rows[:, :, :, None] * columns[:, :, None, :]
    return one_operator("MUL", table.shape, table, options=schema.MulOptionsT())


def test_placing_table_becomes_two_factors_with_the_same_bits() -> None:
    model = placing(*(RNG.integers(0, 2, (1, 4, side)).astype(np.float32) for side in (16, 24)))
    before = pack(model)
    factor_placing(Graph(model))
    graph = Graph(model)
    factors = [graph.shape(int(operator.inputs[1])) for operator in graph.operators]
    assert factors == [(1, 4, 16, 1), (1, 4, 1, 24)]
    x = RNG.normal(size=(1, 4, 16, 24)).astype(np.float32)
    assert np.array_equal(executed(pack(model), x), executed(before, x))
    require_delegated(pack(model), where="m")


def test_table_that_is_no_product_of_zeros_and_ones_stays() -> None:
    rows, columns = np.ones((1, 4, 16), np.float32), np.ones((1, 4, 24), np.float32)
    other = one_operator("MUL", (1, 4, 16, 16), np.broadcast_to(np.eye(16, dtype=np.float32), (1, 4, 16, 16)))
    other.subgraphs[0].operators[0].builtinOptions = schema.MulOptionsT()
    for model in (placing(rows * 3, columns), other):
        factor_placing(Graph(model))
        assert len(model.subgraphs[0].operators) == 1


def test_units_of_quantization_lie_in_a_model_once() -> None:
    unit = quantization(np.full(4096, 0.5, np.float32), np.zeros(4096, np.int64))
    graph, inputs = empty_model("m", {"x": (1, 4)})
    alone = len(pack(finish(graph, "m", inputs=inputs, outputs=inputs)))
    for _ in range(8):
        graph.add_tensor((4096,), INT8, quantization(unit.scale.copy(), unit.zeroPoint.copy()))
    data = pack(graph.model)
    assert len(data) < alone + 1.1 * 4096 * 12
    assert all(
        np.array_equal(tensor.quantization.scale, unit.scale) for tensor in unpack(data).subgraphs[0].tensors[1:]
    )


def chain(name: str, *, slopes: list[float]) -> Any:
    """x through a row of leaky rectifiers."""
    graph, inputs = empty_model(name, {"x": (1, 8)})
    last, operators = inputs["x"], []
    for slope in slopes:
        following = graph.add_tensor((1, 8), FLOAT32)
        options = schema.LeakyReluOptionsT(alpha=slope)
        operators.append(graph.operator("LEAKY_RELU", [last], [following], options=options))
        last = following
    graph.body.operators = operators
    return finish(graph, name, inputs=inputs, outputs={"y": last})


def test_operators_of_a_second_graph_cost_little_where_they_are_equal() -> None:
    slopes = [0.5] * 100
    one = len(merge([chain("a", slopes=slopes)], description="m", recipe="w8a8"))
    two = len(merge([chain("a", slopes=slopes), chain("b", slopes=slopes)], description="m", recipe="w8a8"))
    assert two - one < 0.2 * one  # a list of operators and one of tensors, 4 bytes each


def test_operators_that_differ_in_one_number_stay_apart() -> None:
    models = [chain("a", slopes=[0.5, 0.25]), chain("b", slopes=[0.5, 0.125])]
    data = merge(models, description="m", recipe="w8a8")
    x = np.full((1, 8), -1, np.float32)
    assert executed(data, x, "a") == pytest.approx(-0.125)
    assert executed(data, x, "b") == pytest.approx(-0.0625)
    assert merge(models, description="m", recipe="w8a8") == data
