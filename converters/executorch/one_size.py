"""A graph of the student with the tables of one input size alone, as delegates take it: row-major, no stride of 0."""

from __future__ import annotations

import copy
import re

import torch
from torch import nn

from sam2lite_mobile import contract

_GRIDS = "|".join(str(size // contract.STRIDE) for size in contract.SIZES)


def at_one_size(graph: nn.Module, size: int) -> nn.Module:
    """A copy of the graph that serves this input size only; its layers keep their names.

    Tables of the other sizes, which a program would hold unread, are gone. ExecuTorch refuses a tensor with a stride
    of 0, which a table that was made by broadcasting has.
    """
    changed = copy.deepcopy(graph)
    own = str(size // contract.STRIDE)
    for module in changed.modules():
        for name, table in list(module.named_buffers(recurse=False)):
            found = re.search(rf"_({_GRIDS})$", name)
            if found is not None and found.group(1) != own:
                delattr(module, name)
            else:
                module.register_buffer(name, table.clone(memory_format=torch.contiguous_format))
    return changed
