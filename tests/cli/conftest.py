"""The command line with a scripted engine, and one call of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest

from sam2lite_mobile import engines
from sam2lite_mobile.cli.main import main
from sam2lite_mobile.contract import BANK_TOKENS_MIN
from tests.runtime.scripted_engine import ScriptedEngine


@dataclass(frozen=True)
class Call:
    """What a call of `sam2lite` came to."""

    status: int
    out: str
    err: str


@pytest.fixture
def sam2lite(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Call]:
    """Calls the command line; the engine "scripted" is there besides the real ones."""

    def create(source: Path | None, threads: int, bank_tokens: int | None) -> ScriptedEngine:
        return ScriptedEngine(bank_tokens=bank_tokens or BANK_TOKENS_MIN)

    entry = engines.EngineEntry(create, takes="package", extra="torch")
    monkeypatch.setattr(engines, "ENGINES", MappingProxyType({**engines.ENGINES, "scripted": entry}))
    monkeypatch.setitem(os.environ, "NO_COLOR", "1")
    monkeypatch.setitem(os.environ, "COLUMNS", "160")

    def call(*arguments: object) -> Call:
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else 1
        captured = capfd.readouterr()
        return Call(status, captured.out, captured.err)

    return call
