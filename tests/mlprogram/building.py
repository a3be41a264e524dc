"""Tiny ML Programs built with coremltools' MIL builder, and cases that say what an operation must compute."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

ct = pytest.importorskip("coremltools", reason="building packages needs coremltools")
from coremltools.converters.mil import Builder as mb  # noqa: E402
from coremltools.converters.mil.mil import Function, Program, types  # noqa: E402

gc.freeze()  # each conversion collects garbage: without this it walks through all of coremltools, 0.4 s a time

TARGETS = {16: ct.target.iOS16, 17: ct.target.iOS17, 18: ct.target.iOS18}
_TYPES = {"float32": types.fp32, "float16": types.fp16, "int32": types.int32}


@dataclass(frozen=True)
class Case:
    """An operation in one form: `build` makes it from builder variables, `reference` computes it with torch."""

    op: str
    inputs: Sequence[np.ndarray]
    build: Callable[..., Any]
    reference: Callable[..., Any]
    form: str = ""
    ios: int = 17
    tolerance: float = 2e-6

    @property
    def id(self) -> str:
        return f"{self.op}-{self.form}" if self.form else self.op


def save_program(
    folder: Path,
    build: Callable[..., Any],
    inputs: Sequence[np.ndarray],
    *,
    names: Sequence[str] = "abcdefgh",
    ios: int = 17,
    half: bool = False,
    compute_half: bool = False,
    file: str = "program.mlpackage",
) -> Path:
    """A package whose function `main` takes inputs called `names`. With `half`, floating-point inputs are fp16.

    The builder's passes are left out, so that the package holds exactly the operations that `build` makes; with
    `compute_half` the one that casts operations to fp16 runs.
    """
    placeholders = {}
    for name, array in zip(names, inputs, strict=False):
        is_half = half and array.dtype == np.float32
        placeholders[name] = mb.placeholder(array.shape, types.fp16 if is_half else _TYPES[array.dtype.name])
    program = Program()
    with Function(placeholders, opset_version=TARGETS[ios]) as function:
        results = build(*(function.inputs[name] for name in placeholders))
        function.set_outputs(list(results) if isinstance(results, list | tuple) else [results])
    program.add_function("main", function)
    model = ct.convert(
        program,
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT16 if compute_half else ct.precision.FLOAT32,
        pass_pipeline=ct.PassPipeline(["common::add_fp16_cast"]) if compute_half else ct.PassPipeline.EMPTY,
        minimum_deployment_target=TARGETS[ios],
        skip_model_load=True,
    )
    path = folder / file
    model.save(str(path))
    return path


def feeds(inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    return dict(zip("abcdefgh", inputs, strict=False))


def floats(*shape: int, low: float = -2.0, high: float = 2.0, seed: int = 0) -> np.ndarray:
    """Reproducible float32 values that keep their distance from each other's rounding."""
    generator = np.random.default_rng([seed, *shape])
    return generator.uniform(low, high, shape).astype(np.float32)


def integers(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def as_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array))
