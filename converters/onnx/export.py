"""One graph of the student to one ONNX model: names of the contract, no trace of the machine that made it."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import torch

from converters.capture import CapturedGraph
from sam2lite_mobile import __version__
from sam2lite_mobile.errors import ConversionError, explain

OPSET = 20
"""ONNX 1.16, ONNX Runtime from 1.18, TensorRT from 10.2; the first whose QuantizeLinear has types of 4 and 16 bits."""
PRODUCER = "sam2lite-mobile"
SCOPES_PROPERTY = "pkg.torch.onnx.name_scopes"
CLASSES_PROPERTY = "pkg.torch.onnx.class_hierarchy"
"""The exporter's notes on a node: modules from the outermost to the operation, by name and by class."""
LAYER_CLASSES = ("torch.nn.modules.conv.Conv2d", "torch.nn.modules.linear.Linear")


def export(graph: CapturedGraph) -> onnx.ModelProto:
    """The graph in float32 with the tensors of the contract; each node still says which module it came from.

    Raises ConversionError where an operation has no counterpart.
    """
    spec = graph.spec
    with _quiet():
        try:
            program = torch.onnx.export(
                graph.program,
                (),
                dynamo=True,
                opset_version=OPSET,
                input_names=[tensor.name for tensor in spec.inputs],
                output_names=[tensor.name for tensor in spec.outputs],
                external_data=False,
                verbose=False,
            )
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            raise ConversionError(
                explain(
                    f"{spec.id} to ONNX",
                    expected="a model",
                    got=str(error).splitlines()[0][:300],
                    do="see the operations that convert in the notes of ARCHITECTURE.md",
                )
            ) from error
    if program is None:
        raise ConversionError(explain(f"{spec.id} to ONNX", expected="a model", got="none", do="update torch"))
    return program.model_proto


def layer_of(node: onnx.NodeProto, graph: str) -> str | None:
    """Module name in the student of the Conv2d or Linear that a node came from, `image_encoder.enter`, or None."""
    notes = {entry.key: entry.value for entry in node.metadata_props}
    classes = ast.literal_eval(notes.get(CLASSES_PROPERTY, "[]"))
    if len(classes) < 2 or classes[-2] not in LAYER_CLASSES:
        return None
    scopes = ast.literal_eval(notes[SCOPES_PROPERTY])
    return f"{graph}.{scopes[-2]}"


def anonymous(model: onnx.ModelProto, *, description: str, properties: dict[str, str]) -> onnx.ModelProto:
    """The model without the exporter's notes (stack traces, paths), with a description and properties of ours."""
    _clear_notes(model)
    _clear_notes(model.graph)
    for part in (*model.graph.node, *model.graph.initializer, *model.graph.value_info):
        _clear_notes(part)
    for tensor in (*model.graph.input, *model.graph.output):
        _clear_notes(tensor)
    model.producer_name, model.producer_version = PRODUCER, __version__
    model.doc_string = description
    for key, value in sorted(properties.items()):
        model.metadata_props.add(key=key, value=value)
    return model


def _clear_notes(part: Any) -> None:
    part.doc_string = ""
    del part.metadata_props[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's reports: torchvision's absence, deprecations inside torch, progress on stdout."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
