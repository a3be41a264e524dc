"""A device that is not the CPU, on any machine: its tensors say that they are elsewhere, and are computed here.

Torch's `meta` device lends its name and its dispatch; each far tensor carries real numbers. What a GPU refuses is
refused here: an operation on tensors of both devices (a CPU scalar is allowed), and `numpy()` of a far one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

FAR = torch.device("meta")
BETWEEN_DEVICES = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}
"""Operations that take tensors from one device to another."""


class FarTensor(Tensor):
    """A tensor on the far device; `near` holds its numbers."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> FarTensor:
        return Tensor._make_wrapper_subclass(  # type: ignore[attr-defined,no-any-return]
            cls,
            near.shape,
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=FAR,
            requires_grad=near.requires_grad,
        )

    def __init__(self, near: Tensor) -> None:
        self.near = near

    def __repr__(self) -> str:  # type: ignore[override]
        return f"FarTensor({self.near})"

    @classmethod
    def __torch_dispatch__(
        cls, operation: Any, types: Any, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        return run_far(operation, arguments, options or {})


class FarDevice(TorchDispatchMode):
    """Within it, the device `FAR` can be computed on; mixing devices raises RuntimeError."""

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        return run_far(operation, arguments, options or {})


def run_far(operation: Any, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """One operation, on the device of its tensors, or on that which `options` names."""
    tensors = [leaf for leaf in tree_flatten((arguments, options))[0] if isinstance(leaf, Tensor)]
    far = any(isinstance(tensor, FarTensor) for tensor in tensors)
    stray = [tensor for tensor in tensors if not isinstance(tensor, FarTensor) and tensor.dim() > 0]
    if far and stray and operation not in BETWEEN_DEVICES:
        raise RuntimeError(f"{operation}: a tensor of {tuple(stray[0].shape)} is on the CPU, another one is not")
    named = options.get("device")
    target_far = far if named is None else torch.device(named) == FAR
    if operation is torch.ops.aten._local_scalar_dense.default:
        target_far = False
    if operation is torch.ops.aten.copy_.default:
        target_far = isinstance(arguments[0], FarTensor)
    near_arguments, near_options = tree_map_only(FarTensor, lambda x: x.near, (tuple(arguments), dict(options)))
    if named is not None:
        near_options["device"] = torch.device("cpu")
    result = operation(*near_arguments, **near_options)
    if not target_far:
        return result
    wrapped = tree_map_only(Tensor, FarTensor, result)
    return return_and_correct_aliasing(operation, tuple(arguments), dict(options), wrapped) if far else wrapped


def far_constructor(construct: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`torch.tensor` for a test to put in place of it: the original moves its numbers where no mode can see them."""

    def construct_far(data: object, *, device: torch.device | None = None, **options: Any) -> Tensor:
        made = construct(data, **options)
        return made if device is None else made.to(device)

    return construct_far
