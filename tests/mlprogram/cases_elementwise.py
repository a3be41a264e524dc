"""What element-wise operations must compute."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from tests.mlprogram.building import Case, floats, integers, mb

X = floats(2, 3, 4)
Y = floats(3, 1, seed=1)  # broadcasts
POSITIVE = floats(2, 3, 4, low=0.1, high=3.0, seed=2)
UNIT = floats(2, 3, 4, low=-0.9, high=0.9, seed=3)
TIES = np.array([[-2.5, -1.5, -0.5, 0.0], [0.5, 1.5, 2.4, 2.6]], np.float32)

_UNARY = {
    "abs": (X, torch.abs),
    "acos": (UNIT, torch.acos),
    "asin": (UNIT, torch.asin),
    "atan": (X, torch.atan),
    "atanh": (UNIT, torch.atanh),
    "ceil": (TIES, torch.ceil),
    "cos": (X, torch.cos),
    "cosh": (X, torch.cosh),
    "erf": (X, torch.erf),
    "exp": (X, torch.exp),
    "exp2": (X, torch.exp2),
    "floor": (TIES, torch.floor),
    "identity": (X, lambda x: x),
    "inverse": (POSITIVE, lambda x: 1.0 / (x + 1e-4)),
    "log": (POSITIVE, torch.log),
    "relu": (X, F.relu),
    "relu6": (X * 5, F.relu6),
    "round": (TIES, torch.round),
    "rsqrt": (POSITIVE, torch.rsqrt),
    "sigmoid": (X, torch.sigmoid),
    "sign": (TIES, torch.sign),
    "silu": (X, F.silu),
    "sin": (X, torch.sin),
    "sinh": (X, torch.sinh),
    "softplus": (X, F.softplus),
    "softsign": (X, F.softsign),
    "sqrt": (POSITIVE, torch.sqrt),
    "square": (X, torch.square),
    "tan": (UNIT, torch.tan),
    "tanh": (X, torch.tanh),
}
_BINARY = {
    "add": torch.add,
    "floor_div": torch.floor_divide,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "mod": torch.remainder,
    "mul": torch.mul,
    "real_div": torch.div,
    "sub": torch.sub,
}
_COMPARISONS = {
    "equal": torch.eq,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "not_equal": torch.ne,
}
_LOGIC = {"logical_and": torch.logical_and, "logical_or": torch.logical_or, "logical_xor": torch.logical_xor}
STEPS = np.array([[0, 1, 2], [2, 1, 0]], np.float32)


def _truth(x, y):
    return mb.greater(x=x, y=np.float32(0)), mb.greater(x=y, y=np.float32(0))


CASES = [
    *(
        Case(op, [values], lambda a, op=op: getattr(mb, op)(x=a), reference)
        for op, (values, reference) in _UNARY.items()
    ),
    *(Case(op, [X, Y], lambda a, b, op=op: getattr(mb, op)(x=a, y=b), reference) for op, reference in _BINARY.items()),
    *(
        Case(
            op,
            [STEPS, STEPS[:, ::-1].copy()],
            lambda a, b, op=op: mb.cast(x=getattr(mb, op)(x=a, y=b), dtype="fp32"),
            lambda a, b, reference=reference: reference(a, b).float(),
        )
        for op, reference in _COMPARISONS.items()
    ),
    *(
        Case(
            op,
            [X, floats(2, 3, 4, seed=7)],
            lambda a, b, op=op: mb.cast(x=getattr(mb, op)(**dict(zip("xy", _truth(a, b), strict=True))), dtype="fp32"),
            lambda a, b, reference=reference: reference(a > 0, b > 0).float(),
        )
        for op, reference in _LOGIC.items()
    ),
    Case(
        "logical_not",
        [X],
        lambda a: mb.cast(x=mb.logical_not(x=mb.greater(x=a, y=np.float32(0))), dtype="fp32"),
        lambda a: (a <= 0).float(),
    ),
    Case("pow", [POSITIVE, Y], lambda a, b: mb.pow(x=a, y=b), torch.pow),
    Case(
        "real_div",
        [integers(-7, 7, 9), integers(2, 2, 3)],
        lambda a, b: mb.cast(x=mb.real_div(x=a, y=b), dtype="fp32"),
        lambda a, b: torch.tensor([-3.0, 3.0, 3.0]),
        form="integers drop the fraction",
    ),
    Case(
        "gelu",
        [X],
        lambda a: mb.gelu(x=a, mode="EXACT"),
        lambda a: 0.5 * a * (1 + torch.erf(a / 2**0.5)),
        form="exact",
    ),
    Case(
        "gelu",
        [X],
        lambda a: mb.gelu(x=a, mode="TANH_APPROXIMATION"),
        lambda a: 0.5 * a * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (a + 0.044715 * a**3))),
        form="tanh",
    ),
    Case(
        "gelu",
        [X],
        lambda a: mb.gelu(x=a, mode="SIGMOID_APPROXIMATION"),
        lambda a: a * torch.sigmoid(1.702 * a),
        form="sigmoid",
    ),
    Case(
        "rsqrt",
        [POSITIVE],
        lambda a: mb.rsqrt(x=a, epsilon=np.float32(0.5)),
        lambda a: (a + 0.5) ** -0.5,
        form="epsilon",
    ),
    Case(
        "inverse",
        [POSITIVE],
        lambda a: mb.inverse(x=a, epsilon=np.float32(0.5)),
        lambda a: 1 / (a + 0.5),
        form="epsilon",
    ),
    Case("log", [POSITIVE], lambda a: mb.log(x=a, epsilon=np.float32(0.5)), lambda a: (a + 0.5).log(), form="epsilon"),
    Case("clip", [X], lambda a: mb.clip(x=a, alpha=-0.5, beta=1.25), lambda a: a.clamp(-0.5, 1.25)),
    Case("threshold", [X], lambda a: mb.threshold(x=a, alpha=0.25), lambda a: a.clamp(min=0.25)),
    Case("thresholded_relu", [X], lambda a: mb.thresholded_relu(x=a, alpha=0.5), lambda a: F.threshold(a, 0.5, 0.0)),
    Case(
        "clamped_relu",
        [X],
        lambda a: mb.clamped_relu(x=a, alpha=0.25, beta=1.0),
        lambda a: F.leaky_relu(a, 0.25).clamp(max=1.0),
    ),
    Case("leaky_relu", [X], lambda a: mb.leaky_relu(x=a, alpha=0.1), lambda a: torch.where(a > 0, a, 0.1 * a)),
    Case("elu", [X], lambda a: mb.elu(x=a, alpha=0.5), lambda a: torch.where(a > 0, a, 0.5 * (a.exp() - 1))),
    Case(
        "prelu",
        [floats(2, 3, 4, 1)],
        lambda a: mb.prelu(x=a, alpha=np.array([0.1, 0.2, 0.3], np.float32)),
        lambda a: torch.where(a > 0, a, a * torch.tensor([0.1, 0.2, 0.3]).reshape(1, 3, 1, 1)),
    ),
    Case(
        "sigmoid_hard",
        [X * 3],
        lambda a: mb.sigmoid_hard(x=a, alpha=0.2, beta=0.5),
        lambda a: (0.2 * a + 0.5).clamp(0, 1),
    ),
    Case("scaled_tanh", [X], lambda a: mb.scaled_tanh(x=a, alpha=2.0, beta=0.5), lambda a: 2 * torch.tanh(0.5 * a)),
    Case(
        "linear_activation",
        [X],
        lambda a: mb.linear_activation(x=a, alpha=2.0, beta=0.5),
        lambda a: 2 * a + 0.5,
    ),
    Case(
        "softplus_parametric",
        [X],
        lambda a: mb.softplus_parametric(
            x=a, alpha=np.array([1, 2, 3], np.float32), beta=np.array([0.5, 1, 2], np.float32)
        ),
        lambda a: torch.tensor([[1.0], [2], [3]]) * torch.log1p(torch.exp(torch.tensor([[0.5], [1], [2]]) * a)),
    ),
    Case(
        "select",
        [X, floats(2, 3, 4, seed=9)],
        lambda a, b: mb.select(cond=mb.greater(x=a, y=np.float32(0)), a=a, b=b),
        lambda a, b: torch.where(a > 0, a, b),
    ),
    Case(
        "cast",
        [TIES],
        lambda a: mb.cast(x=mb.cast(x=a, dtype="int32"), dtype="fp32"),
        torch.trunc,
        form="to integer and back",
    ),
    Case(
        "cast",
        [STEPS],
        lambda a: mb.cast(x=mb.cast(x=a, dtype="bool"), dtype="fp32"),
        lambda a: (a != 0).float(),
        form="to bool and back",
    ),
    Case(
        "cast",
        [X],
        lambda a: mb.cast(x=mb.cast(x=a, dtype="fp16"), dtype="fp32"),
        lambda a: a.half().float(),
        form="through fp16",
        tolerance=0.0,
    ),
]
