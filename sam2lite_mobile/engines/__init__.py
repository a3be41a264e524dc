"""Engines: one file for each framework that runs the five graphs, behind the protocol of runtime/engine.py.

`create_engine` is the only way in: it imports the framework that was asked for and no other, and never falls back to
another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sam2lite_mobile.contract import BANK_TOKENS
from sam2lite_mobile.errors import ContractError, MissingBackendError, explain
from sam2lite_mobile.runtime.engine import Engine


@dataclass(frozen=True)
class EngineEntry:
    """How one engine is made.

    create: from a source (None: the default one, if it has one), a number of threads and a bank budget (None: its own).
    takes: what its source is, "checkpoint" or "package". extra: the extra of this package that installs its framework.
    """

    create: Callable[[Path | None, int, int | None], Engine]
    takes: str
    extra: str


def _torch(source: Path | None, threads: int, bank_tokens: int | None) -> Engine:
    from sam2lite_mobile.engines.torch_engine import TorchEngine

    return TorchEngine.from_checkpoint(source, bank_tokens=bank_tokens or BANK_TOKENS, threads=threads)


def _coreml(source: Path | None, threads: int, bank_tokens: int | None) -> Engine:
    folder = _package("coreml", source)
    from sam2lite_mobile.engines.coreml import CoreMLEngine

    return _of_budget(CoreMLEngine(folder), folder, bank_tokens)


def _onnx(source: Path | None, threads: int, bank_tokens: int | None) -> Engine:
    folder = _package("onnx", source)
    from sam2lite_mobile.engines.onnx_engine import OnnxEngine

    return _of_budget(OnnxEngine(folder, threads=threads), folder, bank_tokens)


def _tflite(source: Path | None, threads: int, bank_tokens: int | None) -> Engine:
    folder = _package("tflite", source)
    from sam2lite_mobile.engines.tflite_engine import TfliteEngine

    return _of_budget(TfliteEngine(folder, threads=threads), folder, bank_tokens)


def _executorch(source: Path | None, threads: int, bank_tokens: int | None) -> Engine:
    folder = _package("executorch", source)
    from sam2lite_mobile.engines.executorch_packages import open_executorch

    return _of_budget(open_executorch(folder, threads=threads), folder, bank_tokens)


def _package(name: str, source: Path | None) -> Path:
    if source is None:
        raise ContractError(
            explain(f"engine {name}", expected="a package folder", got="none", do="name one: --package DIR")
        )
    return source


def _of_budget(engine: Engine, source: Path, bank_tokens: int | None) -> Engine:
    if bank_tokens not in (None, engine.bank_tokens):
        raise ContractError(
            explain(
                f"bank budget of {source}",
                expected=engine.bank_tokens,
                got=bank_tokens,
                do=f"build a package with --bank-tokens {bank_tokens}",
            )
        )
    return engine


ENGINES: Mapping[str, EngineEntry] = MappingProxyType(
    {
        "torch": EngineEntry(_torch, takes="checkpoint", extra="torch"),
        "coreml": EngineEntry(_coreml, takes="package", extra="coreml"),
        "onnx": EngineEntry(_onnx, takes="package", extra="onnx"),
        "tflite": EngineEntry(_tflite, takes="package", extra="tflite"),
        "executorch": EngineEntry(_executorch, takes="package", extra="executorch"),
    }
)


def engine_entry(name: str) -> EngineEntry:
    """The entry of an engine. Raises ContractError for a name that is not in the registry."""
    if name not in ENGINES:
        raise ContractError(explain("engine", expected=" or ".join(ENGINES), got=repr(name), do="name one of these"))
    return ENGINES[name]


def create_engine(name: str, *, source: Path | None = None, threads: int = 1, bank_tokens: int | None = None) -> Engine:
    """An engine that is ready to load graphs.

    source: a checkpoint file for torch (None: the default weights), a package folder for the others. threads: processor
    threads that it may use, where the framework lets one choose. bank_tokens: budget of the memory bank, 128 to 512;
    None for that of a package, or of the contract. Raises ContractError for an unknown name, a wrong source or a budget
    that a package was not built for, MissingBackendError with the install line if its framework is missing, and what
    the engine raises for a broken source.
    """
    entry = engine_entry(name)
    if threads < 1:
        raise ContractError(explain("threads", expected="1 or more", got=threads, do="leave the option out"))
    with _install_line(name):
        return entry.create(source, threads, bank_tokens)


def default_source(name: str) -> Path | None:
    """The source that an engine takes when none is given: the repository's weights for torch, None for the others.

    Raises ContractError for an unknown name, MissingBackendError if the weights are not at hand.
    """
    if engine_entry(name).takes != "checkpoint":
        return None
    with _install_line(name):
        from sam2lite_mobile.engines.torch_engine import default_checkpoint

        return default_checkpoint()


@contextmanager
def _install_line(name: str) -> Iterator[None]:
    """Turn the failed import of an engine's framework into a MissingBackendError."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("sam2lite_mobile"):
            raise  # a broken installation of this package, not a missing framework
        raise MissingBackendError(
            explain(
                f"engine {name}",
                expected=f"the package {error.name}",
                got="none",
                do=f"pip install 'sam2lite-mobile[{engine_entry(name).extra}]'",
            )
        ) from error
