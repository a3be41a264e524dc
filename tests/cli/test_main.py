"""The program itself: what help imports, and how errors leave."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from sam2lite_mobile import __version__
from sam2lite_mobile.cli.main import COMMANDS, build_app, main, module_of
from sam2lite_mobile.errors import GateError
from tests.cli.conftest import Call
from tests.repository import ROOT

HEAVY = {"numpy", "torch", "cv2", "av", "PIL", "coremltools", "msgspec", "scipy"}


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom sam2lite_mobile.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as left:\n    assert left.code == 0\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.stderr.strip() == "[]"
    for command in COMMANDS:
        assert command in run.stdout


def test_version_is_that_of_the_package(sam2lite: Callable[..., Call]) -> None:
    assert sam2lite("--version") == Call(0, f"sam2lite-mobile {__version__}\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_line_of_help_is_the_first_line_of_the_command(name: str) -> None:
    app = typer.Typer()
    importlib.import_module(module_of(name)).register(app)
    if app.registered_groups:
        (group,) = app.registered_groups
        assert group.name == name
        assert group.typer_instance is not None
        assert group.typer_instance.info.help == COMMANDS[name]
        return
    (command,) = app.registered_commands
    assert command.name == name
    assert command.callback is not None
    assert (command.callback.__doc__ or "").splitlines()[0] == COMMANDS[name]


def test_every_option_has_help(sam2lite: Callable[..., Call]) -> None:
    for name in COMMANDS:
        call = sam2lite(name, "--help")
        assert call.status == 0
        assert COMMANDS[name] in call.out


def test_unknown_command_is_a_usage_error(sam2lite: Callable[..., Call]) -> None:
    call = sam2lite("segment")
    assert call.status == 2
    assert "No such command 'segment'" in call.err


def test_failed_gate_is_one_line_and_status_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(arguments: object) -> typer.Typer:
        app = build_app([])

        @app.command("fail")
        def fail_command() -> None:
            raise GateError("mask_decoder_512 mask_logits:\n expected 40 dB, got 3 dB; nothing was written")

        return app

    monkeypatch.setattr("sam2lite_mobile.cli.main.build_app", fail)
    assert main(["fail"]) == 1
    expected = "sam2lite: mask_decoder_512 mask_logits: expected 40 dB, got 3 dB; nothing was written\n"
    assert capsys.readouterr().err == expected
