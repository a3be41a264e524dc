"""Lowering for ExecuTorch's Core ML delegate, and canonical bytes of what it leaves in a program.

The delegate converts a graph with coremltools and keeps the .mlpackage, its names for inputs and outputs, and a random
identifier, under which a phone caches the compiled model. Here the package is made canonical as that of the Core ML
target is, the identifier follows from what the package holds, and the files have one order: the same graph has the same
bytes, and another graph never has a cached one's identifier. What only a profiler reads is left out.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from pathlib import Path

import torch
from executorch.exir._serialize._program import deserialize_pte_binary, serialize_pte_binary

from converters.executorch.lower import lower, placement, program_bytes, require_delegated
from converters.executorch.quantize import quiet
from sam2lite_mobile.engines.executorch_coreml import METADATA_FIELDS, METADATA_FILE, MODEL_FOLDER
from sam2lite_mobile.errors import ConversionError, explain
from sam2lite_mobile.mlprogram.memory_folder import extract_folder, write_folder
from sam2lite_mobile.package.canonical import ITEM_NAMESPACE, canonicalize_mlpackage
from sam2lite_mobile.package.tree import list_files

DEBUG_FILE = "debug_info.json"


def lower_to_coreml(program: torch.export.ExportedProgram, *, precision: str, recipe: str, where: str) -> bytes:
    """A program of one call of the Core ML delegate for iOS 17, computed in `fp32` or `fp16`; canonical.

    Raises ConversionError where an operation is left outside, or there is no counterpart for it.
    """
    with quiet():
        import coremltools as ct
        from executorch.backends.apple.coreml.compiler import CoreMLBackend
        from executorch.backends.apple.coreml.partition import CoreMLPartitioner
    specs = CoreMLBackend.generate_compile_specs(
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT32 if precision == "fp32" else ct.precision.FLOAT16,
    )
    edge = lower(program, [CoreMLPartitioner(compile_specs=specs)], recipe=recipe, where=where)
    require_delegated(placement(edge), where=where)
    return canonical_program(program_bytes(edge, where=where), where=where)


def canonical_program(data: bytes, *, where: str) -> bytes:
    """The same program with canonical data of its delegate. Doing it twice changes nothing."""
    file = deserialize_pte_binary(data)
    for delegate in file.program.backend_delegate_data:
        delegate.data = canonical_model(bytes(delegate.data), where=where)
    return bytes(serialize_pte_binary(file, extract_delegate_segments=True))


def canonical_model(data: bytes, *, where: str) -> bytes:
    """The same model with its files in one order, its package canonical and its identifier that of the content.

    Raises ConversionError where the delegate's data holds something that this version of it does not write.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        extract_folder(data, root, where=where)
        (root / DEBUG_FILE).unlink(missing_ok=True)
        content = json.loads((root / METADATA_FILE).read_bytes())
        found = {path.name for path in root.iterdir()}
        if found != {METADATA_FILE, MODEL_FOLDER} or set(content) != METADATA_FIELDS:
            raise ConversionError(
                explain(
                    f"{where}: Core ML model of the program",
                    expected=f"{MODEL_FOLDER}, and {METADATA_FILE} with {', '.join(sorted(METADATA_FIELDS))}",
                    got=f"{', '.join(sorted(found))} with {', '.join(sorted(content))}",
                    do="see what this version of executorch writes (coreml_preprocess.py), and check it as well",
                )
            )
        tree = canonicalize_mlpackage(root / MODEL_FOLDER)
        content["identifier"] = f"executorch_{uuid.uuid5(ITEM_NAMESPACE, tree)}"
        (root / METADATA_FILE).write_text(json.dumps(content, sort_keys=True))
        return write_folder({entry.path: (root / entry.path).read_bytes() for entry in list_files(root)})
