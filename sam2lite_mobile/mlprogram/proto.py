"""The protobuf classes of Core ML model files, without importing coremltools.

`import coremltools` takes 8 to 14 s and pulls torch and every optional framework it finds. Reading a package needs
only the generated `*_pb2` modules that ship inside it, so they are loaded under a private package name (0.1 s).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from sam2lite_mobile.errors import MissingBackendError, explain

_PRIVATE_NAME = "_sam2lite_coreml_proto"


def new_model() -> Any:
    """An empty `Model` message (Model.proto). Raises MissingBackendError where coremltools is not installed."""
    return _model_module().Model()


def _model_module() -> ModuleType:
    if _PRIVATE_NAME not in sys.modules:
        folder = _proto_folder()
        spec = importlib.util.spec_from_file_location(
            _PRIVATE_NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        if spec is None or spec.loader is None:
            raise _missing()
        module = importlib.util.module_from_spec(spec)
        sys.modules[_PRIVATE_NAME] = module
        try:
            spec.loader.exec_module(module)
        except ImportError as error:  # protobuf itself is missing
            del sys.modules[_PRIVATE_NAME]
            raise _missing() from error
    return importlib.import_module(f"{_PRIVATE_NAME}.Model_pb2")


def _proto_folder() -> Path:
    found = importlib.util.find_spec("coremltools")  # finds the folder, runs nothing
    for location in (found.submodule_search_locations or []) if found else []:
        folder = Path(location) / "proto"
        if (folder / "Model_pb2.py").is_file():
            return folder
    raise _missing()


def _missing() -> MissingBackendError:
    return MissingBackendError(
        explain(
            "reading a Core ML package",
            expected="the protobuf classes inside coremltools",
            got="no coremltools",
            do="pip install 'sam2lite-mobile[coreml]'",
        )
    )
