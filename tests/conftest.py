"""Fixtures and rules of all tests: data folders, a seeded generator, no network, macOS tests only on macOS."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

from tests.repository import ROOT

# Shared machines make deadlines flaky; derandomized examples make a failure repeatable.
hypothesis.settings.register_profile("repository", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("repository")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform == "darwin":
        return
    for item in items:
        if item.get_closest_marker("macos") is not None:
            item.add_marker(pytest.mark.skip(reason="needs macOS: Core ML itself runs only there"))


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """No test opens a connection to another machine: what a test needs is in the repository or it is skipped."""
    connect = socket.socket.connect

    def connect_locally(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise RuntimeError(f"a test tried to reach {address[0]}: tests run without a network")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_locally)
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of random numbers with a fixed seed."""
    return np.random.default_rng(20240731)


@pytest.fixture(scope="session")
def sample_clip() -> Path:
    """The clip that comes with the repository: JPEGImages/blackswan/*.jpg and Annotations/blackswan/*.png."""
    return ROOT / "assets" / "sample_clip"


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The data folder: SAM2LITE_DATA, by default ../shared/data beside the repository. Skips the test without it."""
    folder = Path(os.environ.get("SAM2LITE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the data folder: {folder} is missing; set SAM2LITE_DATA")
    return folder


@pytest.fixture(scope="session")
def davis_root(data_root: Path) -> Path:
    """DAVIS in its own layout, with the extra level 480p. Skips the test without it."""
    folder = data_root / "davis"
    if not (folder / "JPEGImages" / "480p").is_dir():
        pytest.skip(f"needs DAVIS: {folder / 'JPEGImages' / '480p'} is missing")
    return folder
