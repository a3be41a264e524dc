"""Running a function of a saved ML Program on the CPU, operation by operation.

The result follows the semantics of the program as MIL documents them ("ML Program reference semantics"). It is not
what Core ML computes on a device: devices accumulate in their own precision and order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.mlprogram.loading import Result, load
from sam2lite_mobile.mlprogram.package import FeatureSpec, Metadata, Package
from sam2lite_mobile.mlprogram.precision import Precision, Report, check_precision

Observer = Callable[[str, NDArray[np.float32]], None]
"""Called with the name and the values of every floating-point input and result, as the program holds them (after
rounding). The array is only valid during the call."""


class Program:
    """One function of a package, ready to run.

    path: a .mlpackage folder. function: the package's default where not given. precision: see `Precision`.
    Raises PackageError for a package that is malformed or holds unknown operations, all of them named.
    It uses as many threads as torch has been told (`torch.set_num_threads`).
    """

    def __init__(self, path: Path | str, *, function: str | None = None, precision: Precision = "declared") -> None:
        check_precision(precision)
        package = Package(path)
        self.function = function or package.default_function
        self.precision: Precision = precision
        self.metadata: Metadata = package.metadata
        self.specification_version = package.specification_version
        self.inputs: tuple[FeatureSpec, ...] = package.inputs(self.function)
        self.outputs: tuple[FeatureSpec, ...] = package.outputs(self.function)
        self._plan = load(package, self.function, precision)
        self._runs = 0

    def op_counts(self) -> dict[str, int]:
        """How often each operation occurs, constants included, by falling count and then name."""
        counts: Counter[str] = self._plan.counts
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def report(self) -> Report:
        """What rounding and clipping lost so far, by operation."""
        return Report(self.precision, self._runs, tuple(event for event in self._plan.events if event.any))

    def run(
        self, tensors: Mapping[str, NDArray[Any]], *, observe: Observer | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """The outputs as float32 arrays of their declared shapes.

        tensors: one array for each input, in its declared shape. An image is uint8 (height, width, 3), or float32
        [1, 3, height, width] holding whole numbers 0..255; RGB either way. Raises ContractError for anything else.
        """
        names = [spec.name for spec in self.inputs]
        if set(tensors) != set(names):
            raise ContractError(
                explain(
                    f"inputs of {self.function}", expected=names, got=sorted(tensors), do="pass exactly these names"
                )
            )
        slots = self._plan.slots.copy()
        with torch.inference_mode():
            for spec in self.inputs:
                result = self._plan.inputs[spec.name]
                slots[result.slot] = value = _feed(spec, tensors[spec.name], result)
                if observe is not None:
                    _show(observe, result.name, value)
            for step in self._plan.steps:
                values = step.compute(slots)
                for result, value in zip(step.results, values, strict=True):
                    slots[result.slot] = value
                    if observe is not None:
                        _show(observe, result.name, value)
                for slot in step.frees:
                    slots[slot] = None
            self._runs += 1
            return {name: np.array(slots[slot].numpy(), np.float32) for name, slot in self._outputs()}

    def _outputs(self) -> list[tuple[str, int]]:
        return [(spec.name, self._plan.outputs[spec.name]) for spec in self.outputs]


class ValueRanges:
    """An observer that keeps each value's smallest and largest element over all runs: calibration of activations."""

    def __init__(self) -> None:
        self._ranges: dict[str, tuple[float, float]] = {}

    def __call__(self, name: str, values: NDArray[np.float32]) -> None:
        """Widens the range of value `name`."""
        if values.size:
            low, high = self._ranges.get(name, (np.inf, -np.inf))
            self._ranges[name] = min(low, float(values.min())), max(high, float(values.max()))

    def ranges(self) -> dict[str, tuple[float, float]]:
        """(smallest, largest) of each value seen, by name."""
        return dict(self._ranges)


def _show(observe: Observer, name: str, value: Tensor) -> None:
    if value.is_floating_point():
        observe(name, value.numpy())


def _feed(spec: FeatureSpec, value: NDArray[Any], result: Result) -> Tensor:
    array = np.asarray(value)
    if spec.is_image:
        array = _image(spec, array)
    elif array.shape != spec.shape or array.dtype.kind not in "fiub":
        raise _refused(spec, f"{spec.shape} {spec.dtype}", f"{array.shape} {array.dtype}")
    if result.type.dtype.is_float:
        tensor = torch.from_numpy(np.array(array, np.float32))  # a copy: rounding writes into it
        return tensor if result.round is None else result.round(tensor)
    whole = array.astype(np.int32)
    if not np.array_equal(whole, array):
        raise _refused(spec, "whole numbers", "fractions")
    tensor = torch.from_numpy(whole)
    return tensor.bool() if result.type.dtype.name == "bool" else tensor


def _image(spec: FeatureSpec, array: NDArray[Any]) -> NDArray[Any]:
    """[1, 3, height, width] in the package's channel order from either form of an RGB image."""
    _, _, height, width = spec.shape
    if array.dtype == np.uint8 and array.shape == (height, width, 3):
        array = array.transpose(2, 0, 1)[None]
    elif array.dtype == np.float32 and array.shape == spec.shape:
        if not (np.array_equal(array, np.rint(array)) and array.min() >= 0 and array.max() <= 255):
            raise _refused(spec, "whole numbers 0..255", "other values")
    else:
        expected = f"uint8 {(height, width, 3)} or float32 {spec.shape} with whole numbers 0..255"
        raise _refused(spec, expected, f"{array.dtype} {array.shape}")
    return array[:, ::-1] if spec.color == "BGR" else array


def _refused(spec: FeatureSpec, expected: str, got: str) -> ContractError:
    return ContractError(explain(f"input {spec.name}", expected=expected, got=got, do="check the size and the graph"))
