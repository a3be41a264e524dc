"""The engine that --engine, --checkpoint, --package and --threads ask for; the same in every command that runs one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam2lite_mobile.errors import ContractError, DataError, explain

if TYPE_CHECKING:
    from sam2lite_mobile.runtime.engine import Engine

EngineName = Annotated[
    str, typer.Option("--engine", metavar="torch|coreml|onnx|tflite|executorch", help="What runs the graphs.")
]
Checkpoint = Annotated[
    Path | None, typer.Option("--checkpoint", metavar="FILE", help="Weights for torch; those in assets/ if left out.")
]
Package = Annotated[
    Path | None, typer.Option("--package", metavar="DIR", help="Package folder, for all engines but torch.")
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Processor threads that the engine may use.")]
Size = Annotated[int, typer.Option("--size", metavar="R", help="Input size: 256, 304, 352, 416, 464 or 512 pixels.")]
Window = Annotated[int, typer.Option("--window", metavar="W", help="Memory window: 2 to 8 frames, plus the anchors.")]

TargetFps = Annotated[
    float | None,
    typer.Option("--target-fps", metavar="N", help="Keep this rate: size and window change as the device allows."),
]


def engine_source(engine: str, *, checkpoint: Path | None, package: Path | None) -> Path | None:
    """The path that this engine takes, None for its default.

    Raises ContractError for an unknown engine or the other engine's option, DataError if the path does not exist.
    """
    from sam2lite_mobile.engines import default_source, engine_entry

    takes = engine_entry(engine).takes
    given = {"checkpoint": checkpoint, "package": package}
    for option, path in given.items():
        if option != takes and path is not None:
            raise ContractError(
                explain(f"engine {engine}", expected=f"--{takes}", got=f"--{option} {path}", do="name the right one")
            )
    source = given[takes] or default_source(engine)
    if source is not None and not source.exists():
        raise DataError(explain(f"--{takes}", expected="an existing path", got=str(source), do="check the path"))
    return source


def check_settings(*, size: int, window: int) -> None:
    """Raise ContractError unless the input size and the memory window are ones that the contract has."""
    from sam2lite_mobile.contract import SIZES, WINDOW_MAX, WINDOW_MIN

    if size not in SIZES:
        raise ContractError(explain("--size", expected=" ".join(map(str, SIZES)), got=size, do="name one of these"))
    if not WINDOW_MIN <= window <= WINDOW_MAX:
        raise ContractError(
            explain("--window", expected=f"{WINDOW_MIN} to {WINDOW_MAX}", got=window, do="name one of these")
        )


def check_target_fps(target_fps: float, *, window: int) -> None:
    """Raise ContractError for a rate that is none, or a memory window beside it: the scheduler chooses that, too."""
    from sam2lite_mobile.contract import WINDOW_MAX

    if not 0 < target_fps < float("inf"):
        raise ContractError(explain("--target-fps", expected="more than 0", got=target_fps, do="pass frames a second"))
    if window != WINDOW_MAX:
        raise ContractError(
            explain("--window with --target-fps", expected="none", got=window, do="leave it to the scheduler")
        )


@dataclass(frozen=True)
class OpenEngine:
    """A warmed-up engine, the SHA-256 of the checkpoint that its weights come from (None where nothing says), and the
    bytes of the checkpoint or of the package (None without either).
    """

    engine: Engine
    checkpoint_sha256: str | None
    files_bytes: int | None = None


def open_engine(
    engine: str,
    *,
    checkpoint: Path | None,
    package: Path | None,
    threads: int,
    size: int,
    window: int,
    bank_tokens: int | None = None,
    all_sizes: bool = False,
) -> OpenEngine:
    """The engine that the options ask for, with the graphs of this input size loaded and run once.

    bank_tokens: budget of the memory bank; None for the engine's own. all_sizes: the graphs of the smaller sizes that
    the engine has, too.
    Raises ContractError for a size or window that the contract or the engine does not have, and what `engine_source`
    and `create_engine` raise.
    """
    from sam2lite_mobile.engines import create_engine
    from sam2lite_mobile.evaluation.conditions import files_bytes

    check_settings(size=size, window=window)
    source = engine_source(engine, checkpoint=checkpoint, package=package)
    ready = create_engine(engine, source=source, threads=threads, bank_tokens=bank_tokens)
    if size not in ready.sizes:
        raise ContractError(
            explain(f"engine {engine} --size", expected=" ".join(map(str, ready.sizes)), got=size, do="name one")
        )
    for each in ready.sizes:
        if each == size or (all_sizes and each < size):
            ready.warm_up(each)
    return OpenEngine(ready, weights_sha256(source), None if source is None else files_bytes(source))


def weights_sha256(source: Path | None) -> str | None:
    """SHA-256 of a checkpoint file, or of the checkpoint that a package's manifest names; None without either."""
    from sam2lite_mobile.evaluation.conditions import file_sha256
    from sam2lite_mobile.package.codec import read_manifest
    from sam2lite_mobile.package.manifest import MANIFEST_NAME

    if source is None:
        return None
    if source.is_file():
        return file_sha256(source)
    manifest = source / MANIFEST_NAME
    return read_manifest(manifest).checkpoint_sha256 if manifest.is_file() else None
