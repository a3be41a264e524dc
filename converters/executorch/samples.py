"""A bundled program: one input size with recorded inputs and expected outputs, to check a device with.

ExecuTorch's runner reads it (`executor_runner --model_path samples.bpte`, built with bundled input and output), and so
do the test suites of an app. The outputs are those of the program as it ran here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from executorch.devtools import BundledProgram
from executorch.devtools.bundled_program.config import MethodTestCase, MethodTestSuite
from executorch.devtools.bundled_program.serialize import serialize_from_bundled_program_to_flatbuffer

from converters.executorch.merge import merge
from sam2lite_mobile.contract import EXECUTORCH_PROGRAM, EXECUTORCH_SAMPLES
from sam2lite_mobile.engines.executorch_engine import ExecutorchEngine
from sam2lite_mobile.package.files import write_file


def write_samples(folder: Path, programs: Mapping[str, bytes], *, recipe_of: str) -> None:
    """Write `samples.bpte` of these programs (graph id -> .pte) and the inputs in `<graph id>.npz` beside them.

    folder: holds the assembled program, which is run for the outputs. The same folder gives the same bytes.
    """
    engine = ExecutorchEngine(folder)
    suites = []
    for name in sorted(programs):
        with np.load(folder / f"{name}.npz", allow_pickle=False) as archive:
            recorded = {each: archive[each] for each in archive.files}
        spec = engine.spec(name)
        outputs = engine.run(name, recorded)
        case = MethodTestCase(
            inputs=[torch.from_numpy(recorded[tensor.name].copy()) for tensor in spec.inputs],
            expected_outputs=[torch.from_numpy(outputs[tensor.name]) for tensor in spec.outputs],
        )
        suites.append(MethodTestSuite(method_name=name, test_cases=[case]))
    small = folder / f".{EXECUTORCH_PROGRAM}.small"
    small.write_bytes(merge(programs, recipe_of=recipe_of))
    try:
        bundled = BundledProgram(None, suites, str(small))
        write_file(folder / EXECUTORCH_SAMPLES, bytes(serialize_from_bundled_program_to_flatbuffer(bundled)))
    finally:
        small.unlink()
