"""What a written graph computes with: its operations in the runtime's own words, read back from the file.

Every target reads its own files (`Target.operations`); here their words are put beside the lines of the policy, so that
a table can show what each target makes of each line (`policy_table.py`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Operation:
    """A kind of operation in a written graph.

    name: in the runtime's words. weights: what its constant is stored in (`int8`, `float16`, `palette of 16`), "" for
    an operation without weights. values: what it computes with: `int8`, `float16` or `float32`.
    """

    name: str
    weights: str
    values: str

    @property
    def form(self) -> str:
        """`int8` where weights and values are; `float16, int8 weights`; `float16, palette of 16`; `float32`."""
        if not self.weights or self.weights == self.values:
            return self.values
        return f"{self.values}, {self.weights}" + ("" if self.weights.startswith("palette") else " weights")


Operations = Counter[Operation]

LINES: tuple[tuple[str, frozenset[str]], ...] = (
    (
        "convolutions and linear layers",
        frozenset(
            """conv linear Conv Gemm CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED
            Conv2d DepthwiseConv2d FullyConnected""".split()
        ),
    ),
    (
        "attention products, memory reads",
        frozenset("matmul MatMul BATCH_MATMUL BatchMatrixMultiply".split()),
    ),
    ("softmax", frozenset("softmax Softmax SOFTMAX".split())),
    (
        "normalisation",
        frozenset(
            """layer_norm rsqrt sqrt square reduce_mean reduce_l2_norm reduce_sum reduce_max
            LayerNormalization ReduceMean ReduceSum ReduceMax Sqrt Reciprocal Pow
            MEAN RSQRT SQUARED_DIFFERENCE SUM REDUCE_MAX SQRT SQUARE POW
            ReciprocalSquareRoot SquareRoot Square GlobalAvgPooling2d""".split()
        ),
    ),
    (
        "sums and products of tensors",
        frozenset(
            """add sub mul real_div maximum minimum Add Sub Mul Div Max Min
            ADD SUB MUL DIV MAXIMUM MINIMUM Multiply Subtract Maximum Minimum Negate NEG Abs ABS""".split()
        ),
    ),
    (
        "activation functions",
        frozenset(
            """gelu sigmoid exp log relu clip sin cos tanh softplus
            Gelu Sigmoid Exp Log Relu Clip Sin Cos Tanh Erf Softplus
            GELU LOGISTIC EXP LOG RELU RELU6 SIN COS TANH Clamp""".split()
        ),
    ),
    (
        "resampling",
        frozenset(
            """upsample_bilinear resize_bilinear avg_pool conv_transpose Resize AveragePool ConvTranspose
            RESIZE_BILINEAR AVERAGE_POOL_2D TRANSPOSE_CONV
            StaticResizeBilinear2D AvgPooling2d ConvTranspose2d""".split()
        ),
    ),
)
"""Lines of the policy (its layers, then `FLOAT_OPERATIONS`), and the words of all runtimes for them."""
MOVES = "moving values"
"""The line of all other operations: reshaping, cutting, joining."""


def line_of(operation: str) -> str:
    """The line of the policy that an operation belongs to."""
    return next((line for line, words in LINES if operation in words), MOVES)


def by_line(operations: Operations) -> dict[str, Counter[str]]:
    """How many operations of each form there are, by line of the policy."""
    found: dict[str, Counter[str]] = {}
    for operation, count in operations.items():
        found.setdefault(line_of(operation.name), Counter())[operation.form] += count
    return found
