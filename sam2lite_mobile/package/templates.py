"""Where the Swift sources of a package come from: `ios_demo/` at the top of the repository.

They are real sources that compile as they are, not strings in Python, so a packager needs the repository checkout.
"""

from __future__ import annotations

from pathlib import Path

from sam2lite_mobile.errors import DataError, explain

_SWIFT_TARGET = Path("Sources") / "SAM2LiteModels"


def repository_root() -> Path:
    """The top of the checkout that this package was imported from. Raises DataError where it is no checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "ios_demo" / "Package.swift").is_file():
        raise DataError(
            explain(
                "Swift sources of the package",
                expected=f"a repository checkout with ios_demo/Package.swift at {root}",
                got="an installation without it",
                do="clone the repository and install it with `pip install -e .`",
            )
        )
    return root


def swift_sources() -> dict[str, Path]:
    """Path inside the package -> template file: Package.swift, README.md and the loader's sources."""
    root = repository_root() / "ios_demo"
    sources = sorted((root / _SWIFT_TARGET).glob("*.swift"))
    return {path.relative_to(root).as_posix(): path for path in (root / "Package.swift", root / "README.md", *sources)}
