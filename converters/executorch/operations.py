"""The operations of an ExecuTorch program, read back from its file: those inside XNNPACK's delegates, and outside."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import XNNHeader, _get_schema_bytes
from executorch.exir._serialize._flatbuffer import _flatc_decompile
from executorch.exir._serialize._program import deserialize_pte_binary

from converters.operations import Operation, Operations

LAYERS = ("FullyConnected", "Conv2d", "DepthwiseConv2d", "ConvTranspose2d")
CONVERT = "Convert"
"""The delegate's change of type: what it changes to is said of the operations that read it."""
OUTSIDE = "outside of the delegate"
_TYPES = {
    "xnn_datatype_fp32": "float32",
    "xnn_datatype_fp16": "float16",
    "xnn_datatype_qint8": "int8",
    "xnn_datatype_qcint8": "int8",
}


def operations(path: Path) -> Operations:
    """What the program at `path` computes with; an operator outside of a delegate counts as float32."""
    program = deserialize_pte_binary(path.read_bytes()).program
    found = Operations()
    for delegate in program.backend_delegate_data:
        found += _delegated(delegate.data)
    for plan in program.execution_plan:
        for instruction in (each for chain in plan.chains for each in chain.instructions):
            if type(instruction.instr_args).__name__ == "KernelCall":
                name = plan.operators[instruction.instr_args.op_index].name
                found[Operation(f"{name}, {OUTSIDE}", "", "float32")] += 1
    return found


def _delegated(data: bytes) -> Operations:
    """The nodes of one delegate."""
    graph = _graph(data)
    values = {_tensor(value)["id_out"]: _tensor(value)["datatype"] for value in graph["xvalues"]}
    found = Operations()
    for node in graph["xnodes"]:
        name, fields = node["xnode_union_type"].removeprefix("XNN").lstrip("_"), node["xnode_union"]
        if name == CONVERT:
            continue
        read = [_type(values[i]) for i in _read(fields)]
        if name in LAYERS:
            found[Operation(name, _type(values[fields["filter_id"]]), read[0])] += 1
        else:
            found[Operation(name, "", read[0] if read else "float32")] += 1
    return found


def _read(fields: dict[str, Any]) -> Iterator[int]:
    """Ids of the values that a node reads, its input first."""
    for key in ("input_id", "input1_id", "input2_id"):
        if key in fields:
            yield int(fields[key])


def _tensor(value: dict[str, Any]) -> dict[str, Any]:
    """A value's tensor, which a quantized one has inside."""
    union: dict[str, Any] = value["xvalue_union"]
    tensor: dict[str, Any] = union.get("tensor_value", union)
    return tensor


def _type(name: str) -> str:
    return _TYPES.get(name, name.removeprefix("xnn_datatype_"))


def _graph(data: bytes) -> dict[str, Any]:
    """XNNPACK's graph as executorch/backends/xnnpack/serialization/schema.fbs has it."""
    header = XNNHeader.from_bytes(data[: XNNHeader.EXPECTED_LENGTH])
    with tempfile.TemporaryDirectory() as folder:
        schema, binary = Path(folder) / "schema.fbs", Path(folder) / "graph.bin"
        schema.write_bytes(_get_schema_bytes())
        binary.write_bytes(data[header.flatbuffer_offset : header.flatbuffer_offset + header.flatbuffer_size])
        _flatc_decompile(folder, str(schema), str(binary), ["--raw-binary"])
        text = (Path(folder) / "graph.json").read_text()
        graph: dict[str, Any] = json.loads(re.sub(r": (-?)inf\b", r": \1Infinity", text))  # bounds of a Clamp
    return graph
