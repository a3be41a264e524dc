"""The engine on ONNX packages, run by ONNX Runtime on the processor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from sam2lite_mobile.contract import ONNX_MODELS_FOLDER, graph_id
from sam2lite_mobile.engines.denormals import flushed_denormals
from sam2lite_mobile.engines.package_engine import (
    PackageEngine,
    bank_tokens_of,
    complete_sizes,
    graph_files,
    not_offered,
)
from sam2lite_mobile.engines.processor import this_dot_product
from sam2lite_mobile.errors import PackageError, explain
from sam2lite_mobile.runtime.engine import EngineDescription

RECIPE_PROPERTY = "sam2lite_recipe"
"""Metadata property of each model: the precision recipe of its package."""
_BUILD = "build the package again with `python -m converters onnx`"
_PROVIDERS = ["CPUExecutionProvider"]
_ERRORS_ONLY = 3
_EXACT_INT8 = ("session.x64quantprecision", "1")
"""x86 processors without dot-product instructions add two int8 products in 16 bits, which saturates: Nano's image
encoder in w8a8 had 19.4 dB left of 25.5. With this they use a kernel that does not. Where there are such instructions
it only costs time: Tiny's image encoder at 512 px 234 in place of 150 ms, on a Xeon with VNNI."""

Tensors = Mapping[str, NDArray[np.float32]]


class OnnxEngine(PackageEngine):
    """Runs the graphs of the contract from a folder of `<graph id>.onnx`, or from an ONNX package (dist/onnx).

    threads: of one graph at a time. Raises PackageError for a folder without sound models.
    """

    def __init__(self, folder: Path | str, *, threads: int = 1) -> None:
        published = Path(folder) / ONNX_MODELS_FOLDER
        self._folder = published if published.is_dir() else Path(folder)
        self._threads = threads
        self._files = graph_files(self._folder, ".onnx")
        self._sessions: dict[str, ort.InferenceSession] = {}
        self._sizes = complete_sizes(self._files, where=f"ONNX models in {self._folder}", build=_BUILD)
        decoders = [graph_id("mask_decoder", size) for size in self._sizes]
        # All sizes of a package come from one build: its smallest decoder is enough, and the others load when needed.
        self._bank_tokens = bank_tokens_of({decoders[0]: self._shape(decoders[0], "memory_keys")}, build=_BUILD)

    def run(self, graph_id: str, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        """Outputs of one graph by name, in arrays of their own."""
        session = self._prepare(graph_id)
        names = [output.name for output in session.get_outputs()]
        with flushed_denormals():
            return dict(zip(names, session.run(names, dict(tensors)), strict=True))

    def describe(self) -> EngineDescription:
        """ONNX Runtime with its version, threads and execution provider."""
        session = self._prepare(graph_id("mask_decoder", self._sizes[0]))
        recipe = session.get_modelmeta().custom_metadata_map.get(RECIPE_PROPERTY, "as built")
        return EngineDescription(
            "onnx", recipe, self._threads, f"onnxruntime {ort.__version__}", ", ".join(session.get_providers())
        )

    def _shape(self, name: str, tensor: str) -> tuple[int, ...]:
        shapes = {node.name: node.shape for node in self._prepare(name).get_inputs()}
        return tuple(side for side in shapes.get(tensor, ()) if isinstance(side, int))

    def _prepare(self, name: str) -> ort.InferenceSession:
        if name not in self._sessions:
            if name not in self._files:
                raise not_offered("graph", sorted(self._files), name)
            self._sessions[name] = open_session(self._files[name], threads=self._threads)
        return self._sessions[name]


def open_session(path: Path, *, threads: int) -> ort.InferenceSession:
    """A session on the processor, one graph at a time. Raises PackageError for a model that does not load."""
    options = session_options(threads=threads)
    try:
        return ort.InferenceSession(str(path), options, providers=_PROVIDERS)
    except Exception as error:  # onnxruntime's errors have no base class of their own
        raise PackageError(
            explain(str(path), expected="a model that ONNX Runtime loads", got=str(error)[:300], do=_BUILD)
        ) from error


def session_options(*, threads: int) -> ort.SessionOptions:
    """How models are run on this processor."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    if not this_dot_product():
        options.add_session_config_entry(*_EXACT_INT8)
    return options
