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
from executorch.runtime import Program

from converters.executorch.merge import merge
from converters.target import Tensors
from sam2lite_mobile import contract
from sam2lite_mobile.contract import EXECUTORCH_PROGRAM, EXECUTORCH_SAMPLES, GraphSpec
from sam2lite_mobile.engines.executorch_engine import load_method, open_program, run_method
from sam2lite_mobile.package.files import write_file


def write_samples(folder: Path, programs: Mapping[str, bytes], *, recipe_of: str) -> None:
    """Write `samples.bpte` of these programs (graph id -> .pte) and the inputs in `<graph id>.npz` in `folder`.

    The same programs and inputs give the same bytes.
    """
    small = folder / f".{EXECUTORCH_PROGRAM}.small"
    small.write_bytes(merge(programs, recipe_of=recipe_of))
    try:
        program = open_program(small)
        suites = [MethodTestSuite(name, [_case(program, name, folder / f"{name}.npz")]) for name in sorted(programs)]
        bundled = BundledProgram(None, suites, str(small))
        write_file(folder / EXECUTORCH_SAMPLES, bytes(serialize_from_bundled_program_to_flatbuffer(bundled)))
    finally:
        small.unlink()


def _case(program: Program, name: str, inputs: Path) -> MethodTestCase:
    """One call of a method: recorded inputs, and the outputs that it has here."""
    with np.load(inputs, allow_pickle=False) as archive:
        recorded = {each: archive[each] for each in archive.files}
    spec = spec_of(name, recorded)
    outputs = run_method(load_method(program, name, threads=1, where="samples"), spec, recorded)
    return MethodTestCase(
        inputs=[torch.from_numpy(recorded[tensor.name].copy()) for tensor in spec.inputs],
        expected_outputs=[torch.from_numpy(outputs[tensor.name]) for tensor in spec.outputs],
    )


def spec_of(graph_id: str, inputs: Tensors) -> GraphSpec:
    """The contract's entry of a graph, for the bank that its inputs were recorded with."""
    bank_tokens = contract.BANK_TOKENS
    if "memory_keys" in inputs:
        bank_tokens = inputs["memory_keys"].shape[1]
    elif graph_id == "token_gate":
        bank_tokens = inputs["keys"].shape[1] - contract.TOKENS_PER_FRAME
    graph, _, size = graph_id.rpartition("_")
    sized = graph in contract.SIZED_GRAPHS
    return contract.graph_spec(
        graph if sized else graph_id, int(size) if sized else contract.FULL_SIZE, bank_tokens=bank_tokens
    )
