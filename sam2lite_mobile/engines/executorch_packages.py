"""Which engine an ExecuTorch package needs: by its layout, and by the delegate that its programs name."""

from __future__ import annotations

from pathlib import Path

from sam2lite_mobile.contract import EXECUTORCH_MODELS_FOLDER
from sam2lite_mobile.engines.delegated_program import VULKAN_BACKEND, read_program
from sam2lite_mobile.engines.package_engine import graph_files
from sam2lite_mobile.errors import MissingBackendError, explain
from sam2lite_mobile.runtime.engine import Engine


def open_executorch(folder: Path, *, threads: int) -> Engine:
    """An engine on a package of any delegate.

    One program of all graphs is run by ExecuTorch with XNNPACK; programs for the Core ML delegate, one for each graph,
    by the interpreter of ML Programs. Raises MissingBackendError for the Vulkan delegate, which nothing here has, and
    what the engines raise.
    """
    published = folder / EXECUTORCH_MODELS_FOLDER
    files = graph_files(published if published.is_dir() else folder, ".pte")
    if not files:
        from sam2lite_mobile.engines.executorch_engine import ExecutorchEngine

        return ExecutorchEngine(folder, threads=threads)
    smallest = min(files.values(), key=lambda path: path.stat().st_size)
    if VULKAN_BACKEND in read_program(smallest).backends:
        raise MissingBackendError(
            explain(
                f"engine executorch on {folder}",
                expected="a delegate that runs on this machine",
                got=f"programs for {VULKAN_BACKEND}, whose shaders need a GPU and ExecuTorch's Vulkan runtime",
                do="run them on an Android device; here, take the package of `python -m converters executorch`",
            )
        )
    from sam2lite_mobile.engines.executorch_coreml import ExecutorchCoreMLEngine

    return ExecutorchCoreMLEngine(folder)
