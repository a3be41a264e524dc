"""Another `forward` on single modules for the length of a block: types, names and state_dict stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

Forward = Callable[[Tensor], Tensor]


@contextmanager
def replaced_forward(replacements: Mapping[nn.Module, Callable[..., object]]) -> Iterator[None]:
    """Within the block each module runs its replacement; afterwards it is as before, also when the block raises.

    A module whose `forward` was replaced already gets that one back. A student must not be copied inside the block:
    the copy would run the first one's weights.
    """
    before = {module: module.__dict__.get("forward") for module in replacements}
    for module, forward in replacements.items():
        module.forward = forward
    try:
        yield
    finally:
        for module, forward_before in before.items():
            if forward_before is None:
                module.__dict__.pop("forward", None)  # the class's shows again
            else:
                module.forward = forward_before
