"""`sam2lite verify`: exit statuses and what the terminal shows."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from sam2lite_mobile.cli.verify import register
from sam2lite_mobile.errors import DataError


def run(*arguments: str):
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, list(arguments))


def test_good_package_ends_with_status_0_and_a_count_for_each_group(published: Path) -> None:
    result = run(str(published))
    assert result.exit_code == 0
    for group in ("manifest", "paths", "tree", "files", "contract", "graphs", "tensors", "gates"):
        assert group in result.stdout
    assert "passed its gates" in result.stdout


def test_changed_package_ends_with_status_1_and_names_file_expectation_and_remedy(package: Path) -> None:
    card = package / "MODEL_CARD.md"
    card.write_bytes(card.read_bytes().replace(b"Model", b"model"))
    result = run(str(package))
    assert result.exit_code == 1
    assert "FAILED" in result.stdout
    assert "MODEL_CARD.md" in result.stdout
    assert "expected sha256 " in result.stdout
    assert "take the package from its source again" in result.stdout


def test_missing_folder_is_an_error_with_status_2(tmp_path: Path) -> None:
    result = run(str(tmp_path / "none"))
    assert isinstance(result.exception, DataError)
    assert result.exception.exit_status == 2


def test_names_in_a_package_cannot_style_the_terminal(package: Path) -> None:
    (package / "[bold red]x\x1b[31m").write_text("")
    result = run(str(package))
    assert "[bold red]x\\x1b[31m" in result.stdout
    assert "\x1b[31m" not in result.stdout


@pytest.mark.parametrize("arguments", [(), ("a", "b")])
def test_wrong_number_of_folders_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2
