"""Where the nodes of a model run: those that the XNNPACK delegate takes, counted by asking it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ai_edge_litert.interpreter import Interpreter

_DELEGATE = "DELEGATE"


@dataclass(frozen=True)
class Placement:
    """nodes: of a graph. outside: those that the delegate leaves to TFLite's own kernels, in words.

    partitions: pieces that the delegate runs as a whole; between two of them tensors are copied.
    """

    nodes: int
    outside: tuple[str, ...]
    partitions: int


def placement(model: bytes) -> Placement:
    """Where the nodes of a model with one graph run in the LiteRT that is installed, its XNNPACK delegate as it comes.

    With fusion off the delegate takes each node alone, so that what it takes can be told from what it leaves.
    """
    alone = _operators(model, fusion=False)
    taken = {int(tensor) for operator in alone if operator["op_name"] == _DELEGATE for tensor in operator["outputs"]}
    nodes = [operator for operator in alone if operator["op_name"] != _DELEGATE]
    outside = [node for node in nodes if not all(int(tensor) in taken for tensor in node["outputs"])]
    whole = _operators(model, fusion=True)
    return Placement(
        len(nodes),
        tuple(f"{node['op_name']} (operator {node['index']})" for node in outside),
        sum(operator["op_name"] == _DELEGATE for operator in whole),
    )


def _operators(model: bytes, *, fusion: bool) -> list[dict[str, Any]]:
    interpreter = Interpreter(model_content=model, num_threads=1, experimental_disable_delegate_node_fusion=not fusion)
    interpreter.allocate_tensors()
    found: list[dict[str, Any]] = interpreter._get_ops_details()
    return found
