"""README.md, as a reader would follow it: every block, in order, in one copy of the repository."""

import os
import shutil
from pathlib import Path

import pytest

from tests.docs.blocks import read_blocks, run_block
from tests.repository import ROOT, repository_files

MAX_SKIPPED = 3

pytestmark = pytest.mark.docs


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the repository's files, without environments and build results."""
    for path in repository_files():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, target)
    return tmp_path


def test_few_blocks_are_skipped():
    blocks = read_blocks((ROOT / "README.md").read_text(encoding="utf-8"))

    skipped = [(block.line, block.skip) for block in blocks if block.skip is not None]
    assert len(blocks) > len(skipped), "README.md has no block that runs"
    assert len(skipped) <= MAX_SKIPPED, skipped


def test_every_block_runs(copy: Path):
    # The copy's own code comes first; data stays where it is.
    data = os.environ.get("SAM2LITE_DATA", str(ROOT.parent / "shared" / "data"))
    environment = {**os.environ, "PYTHONPATH": str(copy), "SAM2LITE_DATA": data}

    for block in read_blocks((copy / "README.md").read_text(encoding="utf-8")):
        if block.skip is None:
            run_block(block, copy, environment=environment)
