"""A small data folder, and runs short enough for tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sam2lite_mobile.training.loop import train
from sam2lite_mobile.training.run_options import RunOptions
from tests.training.pack_samples import pack_data, write_pack_source
from tests.training.short_runs import short_recipe
from tests.training.synthetic_data import write_data


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sequences (roller, jumper) and two stills."""
    return write_data(tmp_path_factory.mktemp("small_data"))


@pytest.fixture(scope="session")
def pack_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small data and a third still, two of the stills with two masks."""
    return write_pack_source(tmp_path_factory.mktemp("pack_source"))


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory, pack_source: Path) -> Path:
    """A pack of `pack_source`."""
    out = tmp_path_factory.mktemp("packs") / "pack"
    pack_data(pack_source, out)
    return out


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread: the order of its sums, and with it the last bits of a run, depends on the number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, small_data: Path) -> Path:
    """The folder of a run of the short recipe that nothing stopped; batches made by a worker process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    train(short_recipe(), RunOptions(out=folder, data_root=small_data, workers=1, log_every=1, sample_every=2))
    torch.set_num_threads(before)
    return folder
