"""The processes of a run: one, or those that torchrun started, on one machine or several, on CPUs or GPUs.

Lightning Fabric opens them and moves data between them. Gradients are added up here, in one piece a step, not by
DistributedDataParallel: which parameters are trained changes within a run (the stem is tuned late) and differs from
step to step (a step without prompts does not reach the prompt encoder), and a sum in a fixed order keeps a run
repeatable.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sam2lite_mobile.errors import ContractError, MissingBackendError, explain

if TYPE_CHECKING:
    from lightning_fabric import Fabric

DEVICES = ("auto", "cpu", "cuda")


class Processes:
    """This process among those of its run: `rank` of `count`, and the `device` that it computes on."""

    def __init__(self, fabric: Fabric | None = None) -> None:
        """The processes that a launched Fabric knows; without one this process alone, on the CPU."""
        self._fabric = fabric
        self.rank = 0 if fabric is None else int(fabric.global_rank)
        self.count = 1 if fabric is None else int(fabric.world_size)
        self.device = torch.device("cpu") if fabric is None else torch.device(fabric.device)

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks to the user: exactly one of a run does."""
        return self.rank == 0

    def rows(self, clips: int) -> range:
        """The clips of a batch that are this process's. Raises ContractError where they do not divide evenly."""
        if clips % self.count:
            raise ContractError(
                explain(
                    "clips of a batch",
                    expected=f"a multiple of {self.count} processes",
                    got=clips,
                    do="change batch_clips in the recipe, or the number of processes",
                )
            )
        share = clips // self.count
        return range(self.rank * share, (self.rank + 1) * share)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, which must pass the same shapes in the same order."""
        if self._fabric is None or self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().float().reshape(-1) for tensor in tensors])
        total = self._fabric.all_reduce(flat, reduce_op="sum")
        if not isinstance(total, Tensor):
            raise TypeError(f"all_reduce of a tensor gave {type(total).__name__}")
        start = 0
        for tensor in tensors:
            tensor.detach().copy_(total[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()

    def add_up_numbers(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """The sum of each number over all processes, which must pass the same names in the same order."""
        totals = torch.tensor(list(numbers.values()), dtype=torch.float32, device=self.device)
        if self.count == 1:
            return dict(numbers)
        self.add_up([totals])
        return dict(zip(numbers, totals.tolist(), strict=True))

    def any(self, flag: bool) -> bool:
        """Whether any process says so; the same answer in all of them."""
        return self.add_up_numbers({"flag": float(flag)})["flag"] > 0

    def wait_for_all(self) -> None:
        """Go on when every process is here."""
        if self._fabric is not None and self.count > 1:
            self._fabric.barrier()


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device gains by bfloat16. On an x86 processor that takes matrix tiles (AMX).

    Measured, a 1024 x 1024 product on one thread: with AVX2 only, where torch emulates it, 2.4 s in bfloat16 and 44 ms
    in float32; with bfloat16 dot products but no tiles (a Xeon with avx512_bf16) 24.8 and 12.9 ms.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if platform.machine().lower() in ("x86_64", "amd64"):
        return bool(torch.cpu._is_amx_tile_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def open_processes(device: str = "auto") -> Processes:
    """The processes of this run. Under torchrun those that it started, otherwise this one alone.

    device: `cuda` (one GPU a process), `cpu`, or `auto` for a GPU where there is one. Raises ContractError for a device
    that this machine does not have, MissingBackendError without lightning-fabric.
    """
    if device not in DEVICES or (device == "cuda" and not torch.cuda.is_available()):
        got = "no GPU that torch can use" if device in DEVICES else device
        raise ContractError(explain("device", expected=" or ".join(DEVICES), got=got, do="use --device cpu"))
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise MissingBackendError(
            explain("training", expected="lightning-fabric", got="none", do="pip install 'sam2lite-mobile[train]'")
        ) from error
    count, local = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    fabric = Fabric(
        accelerator="gpu" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu",
        devices=local,
        num_nodes=max(1, count // max(1, local)),
        strategy="ddp" if count > 1 else "auto",
    )
    fabric.launch()
    return Processes(fabric)
