"""How the numbers of ONNX models are stored: in half precision where that loses nothing, and once for all sizes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sam2lite_mobile.package.onnx_models import WEIGHTS_NAME, read_model

SMALLEST_SHARED_BYTES = 256
"""Smaller constants stay in their model: they decide shapes, which ONNX Runtime wants to see while it loads."""
ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector register."""


def halve(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every large float32 constant that float16 holds exactly stored so, in place.

    A shipped checkpoint is in float16, so these are its weights; a Cast gives the same float32 numbers back, which ONNX
    Runtime and TensorRT do once, when they load the model.
    """
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.nbytes < SMALLEST_SHARED_BYTES or not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def share_weights(folder: Path, graph_ids: Sequence[str]) -> None:
    """Move the large constants of `<graph id>.onnx` into one file beside them, equal ones to one place.

    The same models give the same bytes. Models whose constants lie there already stay as they are.
    """
    places: dict[str, tuple[int, int]] = {}
    with (folder / WEIGHTS_NAME).open("wb") as file:
        for graph_id in graph_ids:
            path = folder / f"{graph_id}.onnx"
            model = read_model(path)
            for tensor in model.graph.initializer:
                data = tensor.raw_data
                if len(data) < SMALLEST_SHARED_BYTES:
                    continue
                key = hashlib.sha256(data).hexdigest()
                if key not in places:
                    file.write(b"\0" * (-file.tell() % ALIGNMENT))
                    places[key] = (file.tell(), len(data))
                    file.write(data)
                onnx.external_data_helper.set_external_data(tensor, WEIGHTS_NAME, *places[key])
                tensor.ClearField("raw_data")
            path.write_bytes(model.SerializeToString(deterministic=True))
