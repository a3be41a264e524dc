"""What the GPU delegate of LiteRT takes, as far as a model shows it: this machine has no such delegate.

Source of the list and of each rule: CheckGpuDelegateCompatibility in tflite/tools/versioning/gpu_compatibility.cc of
github.com/google-ai-edge/LiteRT. Tensors have at most four axes there (batch, height, width, channels). The wrapper of
this check in ai-edge-litert 2.3.0 (ModelAnalyzer with gpu_compatibility) calls every model compatible, one with ROUND
or five axes too, so it is of no use here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from converters.tflite.flatbuffer import FLOAT16, FLOAT32, INT8, INT32, Graph

RANK_MAX = 4
TYPES = (FLOAT32, FLOAT16, INT8, INT32)
OPERATIONS = frozenset(
    "ABS ADD AVERAGE_POOL_2D BATCH_MATMUL CONCATENATION CONV_2D COS DEPTHWISE_CONV_2D DEQUANTIZE DIV ELU EXP FLOOR "
    "FULLY_CONNECTED GELU GREATER GREATER_EQUAL HARD_SWISH LEAKY_RELU LESS LESS_EQUAL LOG LOGISTIC MAXIMUM MAX_POOL_2D "
    "MEAN MINIMUM MUL NEG PAD POW PRELU QUANTIZE REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR "
    "RESIZE_NEAREST_NEIGHBOR RSQRT SIGN SIN SLICE SOFTMAX SPLIT SQRT SQUARE SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM "
    "TANH TILE TRANSPOSE TRANSPOSE_CONV".split()
)
"""Of the supported operations, those that a student may come to use."""
REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")


def gpu_problems(graph: Graph) -> list[str]:
    """Everything in a graph that breaks a rule, in words; empty where the GPU delegate should take it."""
    problems = []
    for place, operator in enumerate(graph.operators):
        kind = graph.kind(operator)
        problems += [f"{kind} (operator {place}): {fault}" for fault in _faults(graph, operator, kind)]
    return problems


def _faults(graph: Graph, operator: Any, kind: str) -> Iterator[str]:
    tensors = [int(i) for i in (*operator.inputs, *operator.outputs) if i >= 0]
    if kind not in OPERATIONS:
        yield "not among the operations"
    for shape in sorted({graph.shape(i) for i in tensors if len(graph.shape(i)) > RANK_MAX}):
        yield f"{len(shape)} axes: {list(shape)}"
    if any(side < 1 for i in tensors for side in graph.shape(i)):
        yield "an open shape"
    if any(graph.type(i) not in TYPES for i in tensors):
        yield "a type beside float32, float16, int8 and int32"
    inputs = [int(i) for i in operator.inputs]
    if kind in ("ADD", "MUL") and not broadcasts(graph.shape(inputs[0]), graph.shape(inputs[1])):
        yield f"unequal axes: {list(graph.shape(inputs[0]))} and {list(graph.shape(inputs[1]))}"
    if kind == "MUL":
        first, second = graph.shape(inputs[0]), graph.shape(inputs[1])
        smaller = [(a < b, b < a) for a, b in zip(first, second, strict=False)] if len(first) == len(second) else []
        if any(a for a, _ in smaller) and any(b for _, b in smaller):
            yield f"an outer product: {list(first)} and {list(second)}"
    elif kind in ("SLICE", "STRIDED_SLICE") and len(graph.shape(inputs[0])) not in (3, 4):
        yield f"a cut of {len(graph.shape(inputs[0]))} axes, not of 3 or 4"
    elif kind == "FULLY_CONNECTED" and graph.is_constant(inputs[0]):
        yield "a constant input"
    elif kind in REDUCTIONS and not (graph.is_constant(inputs[1]) and graph.type(inputs[1]) == INT32):
        yield "axes that are no int32 constant"
    elif kind == "PAD" and not (graph.is_constant(inputs[1]) and graph.shape(inputs[1]) in ((3, 2), (4, 2))):
        yield "paddings that are no constant for 3 or 4 axes"
    elif (
        kind == "RESIZE_BILINEAR" and operator.builtinOptions.alignCorners and operator.builtinOptions.halfPixelCenters
    ):
        yield "aligned corners and centred pixels at the same time"


def broadcasts(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    """Whether a sum or a product of these shapes is taken (CheckAddMulBroadcastCompatibility, without its flag)."""
    longer, shorter = sorted((first, second), key=len, reverse=True)
    if len(longer) == len(shorter) or len(shorter) < 2:
        return True
    if len(longer) != 4:
        return False
    if len(shorter) == 3:
        return longer[0] == 1
    return (longer[0] == 1 and shorter == (1, 1)) or (longer[0], longer[3]) == shorter
