"""What a converted graph computes in integers, held against the policy; the same for every target."""

from __future__ import annotations

from converters.operations import LINES, Operations, by_line
from sam2lite_mobile.quantization.policy import precision_policy, quantizable_layers
from sam2lite_mobile.student.student import Student


def require_integers_of_the_policy(found: Operations, student: Student, graph: str) -> None:
    """Fail unless the layers that w8a8 has in int8 are, and products, softmax and normalisation are not."""
    policy = precision_policy("w8a8")
    layers = [name for name in quantizable_layers(student) if name.startswith(f"{graph}.")]
    lines = by_line(found)
    assert lines[LINES[0][0]]["int8"] == sum(policy.decide(layer).weight_bits == 8 for layer in layers)
    assert sum(lines[LINES[0][0]].values()) >= len(layers)
    for line in ("attention products, memory reads", "softmax", "normalisation"):
        assert lines[line], f"no known word for {line}"
        assert "int8" not in lines[line], line
