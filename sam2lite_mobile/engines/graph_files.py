"""What engines on packages share: which files of a folder are graphs, which sizes are complete, the bank's budget."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from sam2lite_mobile.contract import GRAPHS, SIZED_GRAPHS, SIZES, graph_id
from sam2lite_mobile.errors import ContractError, PackageError, explain


def graph_files(folder: Path, suffix: str) -> dict[str, Path]:
    """The files or folders `<graph id><suffix>` of a folder, by graph id."""
    known = "|".join([*(f"{g}_({'|'.join(map(str, SIZES))})" for g in SIZED_GRAPHS), *GRAPHS])
    return {path.stem: path for path in sorted(folder.glob(f"*{suffix}")) if re.fullmatch(known, path.stem)}


def complete_sizes(found: Iterable[str], *, where: str, build: str) -> tuple[int, ...]:
    """Input sizes R, ascending, for which every graph is among the ids `found`.

    Raises PackageError where there is none. where: what was looked at; build: what makes a complete one.
    """
    ids = set(found)
    sizes = tuple(size for size in SIZES if all(graph_id(graph, size) in ids for graph in GRAPHS))
    if not sizes:
        raise PackageError(
            explain(
                where,
                expected=f"{', '.join(graph_id(graph, SIZES[-1]) for graph in GRAPHS)}, or another size",
                got=", ".join(sorted(ids)) or "none",
                do=build,
            )
        )
    return sizes


def bank_tokens_of(key_shapes: Mapping[str, tuple[int, ...]], *, build: str) -> int:
    """B from the shapes (1, B, channels) of the memory keys that each mask decoder takes, by graph id.

    Raises PackageError where a shape is another one, or the decoders disagree.
    """
    for name, shape in key_shapes.items():
        if len(shape) != 3:
            raise PackageError(
                explain(f"{name}: memory_keys", expected="[1, bank tokens, channels]", got=list(shape), do=build)
            )
    found = {shape[1] for shape in key_shapes.values()}
    if len(found) != 1:
        raise PackageError(
            explain("bank budget of the mask decoders", expected="one for all sizes", got=sorted(found), do=build)
        )
    return int(found.pop())


def not_offered(what: str, allowed: Iterable[object], got: object) -> ContractError:
    """The error for a name or number that an engine does not have."""
    return ContractError(
        explain(what, expected=f"one of {', '.join(map(str, allowed))}", got=got, do="name one of these")
    )
