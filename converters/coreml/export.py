"""One graph of the student to one canonical .mlpackage."""

from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

from converters.capture import CapturedGraph
from converters.target import GraphPrecision
from sam2lite_mobile import __version__
from sam2lite_mobile.errors import ConversionError, MissingBackendError, explain
from sam2lite_mobile.package.canonical import canonicalize_mlpackage

AUTHOR = "SAM2-Lite mobile"
LICENCE = "Code Apache-2.0; weights CC BY-NC 4.0, see the model card"
IMAGE_INPUT = "image"


def convert(graph: CapturedGraph, path: Path, *, precision: GraphPrecision, student_size: str) -> None:
    """Write the graph as an ML Program for iOS 17, in float32 or else in float16 and a recipe's integers.

    Its bytes are canonical.

    The image is an RGB image input with values 0..255; normalisation is inside. All arrays are float32 at the border,
    stated explicitly: otherwise the converter decides by precision. Raises ConversionError where it cannot.
    """
    ct = _coremltools()
    from converters.coreml.quantize import use_policy

    spec = graph.spec
    pipeline = ct.PassPipeline.DEFAULT
    use_policy(pipeline, spec.graph, graph.layers, precision)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own tree specs, met while it copies its graph
        program = graph.program.run_decompositions({})
    inputs: list[Any] = []
    for tensor in spec.inputs:
        if tensor.name == IMAGE_INPUT:
            inputs.append(
                ct.ImageType(name=tensor.name, shape=tensor.shape, color_layout=ct.colorlayout.RGB, scale=1.0)
            )
        else:
            inputs.append(ct.TensorType(name=tensor.name, shape=tensor.shape, dtype=float_type()))
    try:
        model = ct.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS17,
            skip_model_load=True,
            inputs=inputs,
            outputs=[ct.TensorType(name=tensor.name, dtype=float_type()) for tensor in spec.outputs],
            compute_precision=ct.precision.FLOAT32 if precision.name == "fp32" else ct.precision.FLOAT16,
            pass_pipeline=pipeline,
        )
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        raise ConversionError(
            explain(
                f"{spec.id} to Core ML {precision.name}",
                expected="a program",
                got=str(error)[:300],
                do="see the operations that convert in the notes of ARCHITECTURE.md",
            )
        ) from error
    size = f" at {spec.size} px" if spec.size else ""
    model.short_description = f"SAM2-Lite {student_size}: {spec.graph.replace('_', ' ')}{size}, {precision.name}"
    model.author, model.license, model.version = AUTHOR, LICENCE, __version__
    for tensor in spec.inputs:
        model.input_description[tensor.name] = tensor.meaning
    for tensor in spec.outputs:
        model.output_description[tensor.name] = tensor.meaning
    if path.exists():
        shutil.rmtree(path)
    model.save(str(path))
    canonicalize_mlpackage(path)


def float_type() -> Any:
    """The dtype of every array at a graph's border."""
    import numpy as np

    return np.float32


def _coremltools() -> Any:
    """coremltools, imported quietly: it takes 8 to 14 seconds and warns of what is normal off macOS."""
    for name in ("coremltools", "torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        import coremltools
    except ImportError as error:
        raise MissingBackendError(
            "Core ML conversion: expected coremltools 9.0, got no such module; "
            "run pip install torch==2.13.0, then pip install 'sam2lite-mobile[coreml]'"
        ) from error
    return coremltools
