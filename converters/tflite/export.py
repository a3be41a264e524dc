"""One graph of the student to a TFLite model in float32 whose layers are still the student's.

The converter folds what surrounds a layer into its weights: the gains of a LayerNorm in front of it, and its bias. Then
neither the integers nor the ranges of the policy fit. It also adds that bias to a table of positions, of which each
layer then has one of its own. So each Linear reads, and each LayerNorm writes, through an optimization barrier, which
holds folding off and is gone from the model that comes out. The time of a frame is the same with and without.
"""

from __future__ import annotations

import contextlib
import logging
import operator
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from converters.capture import CapturedGraph
from converters.tflite.flatbuffer import signature, unpack
from sam2lite_mobile.contract import GraphSpec
from sam2lite_mobile.errors import ConversionError, explain


def export(graph: CapturedGraph) -> Any:
    """The model, with one signature: named as the graph, its tensors as those of the contract.

    Raises ConversionError where an operation has no counterpart.
    """
    spec = graph.spec
    arguments = graph.program.example_inputs
    if arguments is None:
        raise ConversionError(explain(f"{spec.id} to TFLite", expected="example inputs", got="none", do="capture it"))
    with _quiet():
        # Here, since it takes ten seconds and what reads, merges or runs models can do without.
        import litert_torch

        try:
            module = _with_barriers(graph.program.module())
            converted = litert_torch.convert(module, arguments[0]).model_content()
        except Exception as error:  # the passes of MLIR raise errors of several kinds without a base of their own
            raise ConversionError(
                explain(
                    f"{spec.id} to TFLite",
                    expected="a model",
                    got=(str(error).splitlines() or [type(error).__name__])[0][:300],
                    do="write the module with operations that convert",
                )
            ) from error
    return _signed(unpack(converted), spec)


def _with_barriers(module: torch.fx.GraphModule) -> torch.fx.GraphModule:
    from litert_torch.backend.optimization_barrier import optimization_barrier_op

    def held(tensor: torch.fx.Node, *, after: torch.fx.Node) -> torch.fx.Node:
        with module.graph.inserting_after(after):
            # Of two tensors, since what is made of a barrier for one cannot be indexed.
            both = module.graph.call_function(optimization_barrier_op, ([tensor, tensor],))
        with module.graph.inserting_after(both):
            return module.graph.call_function(operator.getitem, (both, 0))

    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten.linear.default:
            node.args = (held(node.args[0], after=node.prev), *node.args[1:])
        elif node.target is torch.ops.aten.layer_norm.default:
            readers = list(node.users)
            written = held(node, after=node)
            for reader in readers:
                reader.replace_input_with(node, written)
    module.recompile()
    return module


def _signed(model: Any, spec: GraphSpec) -> Any:
    """The model with a signature of ours; the converter's is in call order, `args_0` to `output_0`."""
    found = model.signatureDefs[0]
    given = {entry.name.decode(): int(entry.tensorIndex) for entry in (*found.inputs, *found.outputs)}
    inputs = [(tensor.name, given[f"args_{i}"]) for i, tensor in enumerate(spec.inputs)]
    outputs = [(tensor.name, given[f"output_{i}"]) for i, tensor in enumerate(spec.outputs)]
    model.signatureDefs = [signature(spec.id, inputs=inputs, outputs=outputs, subgraph=0)]
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the converter's reports, those of its C++ part included: errors are raised, not printed."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(stream, os.dup(stream)) for stream in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream, _ in kept:
            os.dup2(nowhere, stream)
        with (
            warnings.catch_warnings(),
            open(os.devnull, "w") as sink,
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for stream, copy in kept:
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nowhere)
        root.setLevel(level)
