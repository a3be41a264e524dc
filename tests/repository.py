"""The repository as the tests see it: its root, its files, its settings."""

import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("sam2lite_mobile", "converters")


@cache
def repository_files() -> tuple[Path, ...]:
    """Files that git tracks or would add, relative to ROOT, sorted. Skips the test outside a git checkout."""
    # safe.directory: a checkout may belong to another user, as it does in containers.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs git and a checkout: {error}")
    paths = (Path(name) for name in listing.split("\0") if name)
    return tuple(sorted(path for path in paths if (ROOT / path).is_file()))


def python_files() -> tuple[Path, ...]:
    """Python files of the two packages, relative to ROOT, sorted."""
    return tuple(sorted(path.relative_to(ROOT) for name in PACKAGES for path in (ROOT / name).rglob("*.py")))


@cache
def pyproject() -> dict[str, Any]:
    """Content of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
