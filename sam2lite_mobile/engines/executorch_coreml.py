"""The engine on ExecuTorch programs for the Core ML delegate: the ML Program in each, run by our interpreter.

ExecuTorch hands the delegate's data to Core ML, which needs an Apple device. The ML Program is taken out of it and
follows its written semantics here (*ML Program reference semantics*); what ExecuTorch does around it, which is to copy
tensors in and out, is not part of that.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.contract import GraphSpec
from sam2lite_mobile.engines.delegated_program import COREML_BACKEND, DelegatedProgram, read_program
from sam2lite_mobile.engines.program_folder import ProgramFolderEngine, Tensors
from sam2lite_mobile.errors import PackageError, explain
from sam2lite_mobile.mlprogram import Program
from sam2lite_mobile.mlprogram.memory_folder import extract_folder

MODEL_FOLDER, METADATA_FILE = "model.mlpackage", "metadata.json"
"""What the delegate's data holds (executorch/backends/apple/coreml/compiler/coreml_preprocess.py)."""
METADATA_FIELDS = {"inputNames", "outputNames", "identifier"}
_BUILD = "build the package again with `python -m converters executorch-coreml`"


class DelegatedModel:
    """The ML Program inside one program, ready to run with a method's tensors in call order.

    Raises PackageError where the program is more than one call of the delegate, or the model in it is broken.
    """

    def __init__(self, path: Path) -> None:
        self.source: DelegatedProgram = read_program(path)
        self.source.require_backend(COREML_BACKEND, where=str(path))
        self._folder = tempfile.TemporaryDirectory(prefix="sam2lite-")  # weights are mapped while the model lives
        root = Path(self._folder.name)
        extract_folder(self.source.data, root, where=str(path))
        takes, gives = _names(root / METADATA_FILE, where=str(path))
        if len(takes) != len(self.source.takes) or len(gives) != len(self.source.gives):
            raise _broken(str(path), "a name for each tensor of the delegate", f"{len(takes)} and {len(gives)}")
        self._inputs = dict(zip(takes, self.source.takes, strict=True))
        self._outputs = dict(zip(gives, self.source.gives, strict=True))
        self.program = Program(root / MODEL_FOLDER, precision="declared")
        if {spec.name for spec in self.program.inputs} != set(takes):
            raise _broken(str(path), f"inputs {', '.join(takes)}", "a model with others")
        if {spec.name for spec in self.program.outputs} != set(gives):
            raise _broken(str(path), f"outputs {', '.join(gives)}", "a model with others")

    def run(self, spec: GraphSpec, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        """Outputs of a graph by the contract's names."""
        arguments = [np.ascontiguousarray(tensors[tensor.name]) for tensor in spec.inputs]
        outputs = self.program.run({name: arguments[place] for name, place in self._inputs.items()})
        return {spec.outputs[place].name: outputs[name] for name, place in self._outputs.items()}


class ExecutorchCoreMLEngine(ProgramFolderEngine):
    """Runs the graphs of the contract from a folder of `<graph id>.pte`, or from a package (dist/executorch-coreml)."""

    name = "executorch-coreml"
    semantics = f"{COREML_BACKEND}'s model, ML Program reference semantics"
    build = _BUILD

    def open(self, path: Path) -> DelegatedModel:
        """The ML Program in a program."""
        return DelegatedModel(path)


def _names(path: Path, *, where: str) -> tuple[list[str], list[str]]:
    """The model's names for the delegate's inputs and outputs, in the order of its arguments."""
    try:
        content = json.loads(path.read_bytes())
        takes, gives = content["inputNames"], content["outputNames"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _broken(where, f"{METADATA_FILE} with inputNames and outputNames", "something else") from error
    for names in (takes, gives):
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _broken(where, f"lists of names in {METADATA_FILE}", "something else")
        if len(set(names)) != len(names):
            raise _broken(where, f"each name once in {METADATA_FILE}", ", ".join(names)[:200])
    return takes, gives


def _broken(where: str, expected: str, got: str) -> PackageError:
    return PackageError(explain(f"{where}: Core ML model", expected=expected, got=got, do=_BUILD))
