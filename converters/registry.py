"""The targets by name. Adding one is adding a folder with a `Target` and one line here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from sam2lite_mobile.errors import ContractError, MissingBackendError, explain

if TYPE_CHECKING:
    from converters.target import Target


@dataclass(frozen=True)
class Entry:
    """A target's class, imported on use; a line of help; the extra it needs; where its package goes, and its recipe."""

    module: str
    name: str
    help: str
    out: str
    extra: str
    recipe: str = "fp16"


TARGETS = {
    "coreml": Entry(
        "converters.coreml.target",
        "CoreML",
        "a SwiftPM package of ML Programs for iOS 17 and macOS 14 or later",
        "dist/ios",
        "coreml",
    ),
    "onnx": Entry(
        "converters.onnx.target", "Onnx", "a folder of models for ONNX Runtime 1.18 or later", "dist/onnx", "onnx"
    ),
    "tflite": Entry(
        "converters.tflite.target",
        "Tflite",
        "a folder with one model for LiteRT, for Android",
        "dist/android",
        "tflite",
    ),
    "executorch": Entry(
        "converters.executorch.target",
        "Executorch",
        "a program for ExecuTorch 1.5 with the XNNPACK delegate",
        "dist/executorch",
        "executorch",
        "w8a8",
    ),
    "executorch-coreml": Entry(
        "converters.executorch.coreml",
        "ExecutorchCoreML",
        "programs for ExecuTorch 1.5 with the Core ML delegate, for iOS 17",
        "dist/executorch-coreml",
        "executorch",
    ),
    "executorch-vulkan": Entry(
        "converters.executorch.vulkan",
        "ExecutorchVulkan",
        "programs for ExecuTorch 1.5 with the Vulkan delegate; nothing here can execute them",
        "dist/executorch-vulkan",
        "executorch",
    ),
    "tensorrt": Entry(
        "converters.onnx.target", "TensorRT", "the same models in TensorRT 10's form", "dist/tensorrt", "onnx"
    ),
}


def open_target(name: str) -> Target:
    """A target by its name. Raises ContractError for an unknown one, MissingBackendError without its tools."""
    if name not in TARGETS:
        raise ContractError(explain("target", expected=", ".join(TARGETS), got=name, do="choose one of these"))
    entry = TARGETS[name]
    try:
        made: Target = getattr(import_module(entry.module), entry.name)()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith(("converters", "sam2lite_mobile")):
            raise  # a broken installation of this package, not a missing tool
        raise MissingBackendError(
            explain(
                f"target {name}",
                expected=f"the package {error.name}",
                got="none",
                do=f"pip install 'sam2lite-mobile[{entry.extra}]'",
            )
        ) from error
    return made
