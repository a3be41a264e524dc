"""Element-wise operations: arithmetic, comparison, logic, activations, casts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from sam2lite_mobile.mlprogram.ops.registry import Kernel, Node, operation

_CAST = {
    "fp16": torch.float32,  # the interpreter rounds to what is declared
    "fp32": torch.float32,
    "bool": torch.bool,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int16": torch.int16,
    "uint16": torch.int32,
    "int32": torch.int32,
}


def _divide(x: Tensor, y: Tensor) -> Tensor:
    if x.is_floating_point() or y.is_floating_point():
        return torch.div(x, y)
    return torch.div(x, y, rounding_mode="trunc")


def _thresholded_relu(x: Tensor, alpha: float) -> Tensor:
    return torch.where(x >= alpha, x, torch.zeros_like(x))


def _sigmoid_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "acos": torch.acos,
    "asin": torch.asin,
    "atan": torch.atan,
    "atanh": torch.atanh,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "erf": torch.erf,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
}
_UNARY_EXACT: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "ceil": torch.ceil,
    "floor": torch.floor,
    "identity": lambda x: x,
    "logical_not": torch.logical_not,
    "relu": torch.relu,
    "relu6": F.relu6,
    "round": torch.round,
    "sign": torch.sign,
}
_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "floor_div": torch.floor_divide,
    "mod": torch.remainder,
    "mul": torch.mul,
    "pow": torch.pow,
    "real_div": _divide,
    "sub": torch.sub,
}
_BINARY_EXACT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "equal": torch.eq,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "not_equal": torch.ne,
}


@operation(*_UNARY)
def _unary(node: Node) -> Kernel:
    return node.kernel(_UNARY[node.op], "x")


@operation(*_UNARY_EXACT, is_exact=True)
def _unary_exact(node: Node) -> Kernel:
    return node.kernel(_UNARY_EXACT[node.op], "x")


@operation(*_BINARY)
def _binary(node: Node) -> Kernel:
    return node.kernel(_BINARY[node.op], "x", "y")


@operation(*_BINARY_EXACT, is_exact=True)
def _binary_exact(node: Node) -> Kernel:
    return node.kernel(_BINARY_EXACT[node.op], "x", "y")


@operation("gelu")
def _gelu(node: Node) -> Kernel:
    modes: dict[str, Callable[[Tensor], Tensor]] = {
        "EXACT": F.gelu,
        "TANH_APPROXIMATION": partial(F.gelu, approximate="tanh"),
        "SIGMOID_APPROXIMATION": _sigmoid_gelu,
    }
    return node.kernel(modes[node.text("mode", "EXACT", among=tuple(modes))], "x")


# MIL adds an epsilon inside these three: 1e-12, 1e-4 and the smallest positive number unless told otherwise
@operation("rsqrt")
def _rsqrt(node: Node) -> Kernel:
    epsilon = node.number("epsilon", 1e-12)
    return node.kernel(lambda x: torch.rsqrt(x + epsilon), "x")


@operation("inverse")
def _inverse(node: Node) -> Kernel:
    epsilon = node.number("epsilon", 1e-4)
    return node.kernel(lambda x: torch.reciprocal(x + epsilon), "x")


@operation("log")
def _log(node: Node) -> Kernel:
    epsilon = node.number("epsilon", 1e-45)
    return node.kernel(lambda x: torch.log(x + epsilon), "x")


@operation("clip", is_exact=True)
def _clip(node: Node) -> Kernel:
    low, high = node.number("alpha"), node.number("beta")
    return node.kernel(lambda x: torch.clamp(x, low, high), "x")


@operation("threshold", is_exact=True)
def _threshold(node: Node) -> Kernel:
    alpha = node.number("alpha")
    return node.kernel(lambda x: torch.clamp(x, min=alpha), "x")


@operation("thresholded_relu", is_exact=True)
def _threshold_relu(node: Node) -> Kernel:
    return node.kernel(partial(_thresholded_relu, alpha=node.number("alpha")), "x")


@operation("clamped_relu")
def _clamped_relu(node: Node) -> Kernel:
    alpha, beta = node.number("alpha"), node.number("beta")
    return node.kernel(lambda x: torch.clamp(F.leaky_relu(x, alpha), max=beta), "x")


@operation("leaky_relu")
def _leaky_relu(node: Node) -> Kernel:
    alpha = node.number("alpha")
    return node.kernel(lambda x: F.leaky_relu(x, alpha), "x")


@operation("elu")
def _elu(node: Node) -> Kernel:
    alpha = node.number("alpha")
    return node.kernel(lambda x: F.elu(x, alpha), "x")


@operation("prelu")
def _prelu(node: Node) -> Kernel:
    return node.kernel(F.prelu, "x", "alpha")  # one slope a channel (axis 1)


@operation("sigmoid_hard")
def _sigmoid_hard(node: Node) -> Kernel:
    alpha, beta = node.number("alpha"), node.number("beta")
    return node.kernel(lambda x: torch.clamp(alpha * x + beta, 0.0, 1.0), "x")


@operation("scaled_tanh")
def _scaled_tanh(node: Node) -> Kernel:
    alpha, beta = node.number("alpha"), node.number("beta")
    return node.kernel(lambda x: alpha * torch.tanh(beta * x), "x")


@operation("linear_activation")
def _linear_activation(node: Node) -> Kernel:
    alpha, beta = node.number("alpha"), node.number("beta")
    return node.kernel(lambda x: alpha * x + beta, "x")


@operation("softplus_parametric")
def _softplus_parametric(node: Node) -> Kernel:
    shape = [-1] + [1] * (node.rank("x") - 2)  # one pair a channel (axis 1)
    alpha, beta = node.tensor("alpha").reshape(shape), node.tensor("beta").reshape(shape)
    return node.kernel(lambda x: alpha * F.softplus(beta * x), "x")


@operation("select", is_exact=True)
def _select(node: Node) -> Kernel:
    return node.kernel(torch.where, "cond", "a", "b")


@operation("cast", is_exact=True)
def _cast(node: Node) -> Kernel:
    dtype = _CAST[node.text("dtype", among=tuple(_CAST))]
    return node.kernel(lambda x: x.to(dtype), "x")  # a float becomes an integer by dropping its fraction
