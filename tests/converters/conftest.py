"""A student small enough to convert in a second, its recorded inputs, and a package built from it once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from converters.options import BuildOptions, Reporter
from converters.recording import Tensors, record_inputs
from sam2lite_mobile.engines.torch_engine import TorchEngine, default_checkpoint
from sam2lite_mobile.evaluation.datasets import DATA_VARIABLE, sample_clip
from sam2lite_mobile.evaluation.prompted_clip import PromptedClip, read_clip
from sam2lite_mobile.student.checkpoint import load_student, save_student
from sam2lite_mobile.student.config import StudentConfig
from sam2lite_mobile.student.student import Student

CONFIG = StudentConfig("toy", width=32, blocks=1, heads=2, decoder_layers=1, decoder_heads=4, decoder_hidden=64)
SIZE = 256
FRAMES = 24


@dataclass(frozen=True)
class Toy:
    """A student on disk, its engine, and what its graphs were fed in the middle of the sample clip."""

    checkpoint: Path
    engine: TorchEngine
    clip: PromptedClip
    inputs: dict[str, Tensors]

    def student(self) -> Student:
        """A fresh copy, to be sabotaged."""
        return load_student(self.checkpoint)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def sample_clip_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gates measure on the sample clip here, whatever data the machine has."""
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "none"))


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    checkpoint = tmp_path_factory.mktemp("toy") / "toy.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        student = Student(CONFIG)
    for parameter in student.parameters():  # training moves LayerScale and the gains away from their quiet start
        if parameter.dim() == 1 and parameter.abs().max().item() == pytest.approx(1e-4):
            parameter.data.fill_(0.3)
    student.mask_decoder.visibility[2].bias.data.fill_(5)  # an object that is never in view would test nothing
    save_student(student, checkpoint)
    return _recorded(checkpoint)


@pytest.fixture(scope="session")
def shipped() -> Toy:
    """The default student in the toy's place: what a trained decoder computes hangs on all of its parts."""
    return _recorded(default_checkpoint())


def _recorded(checkpoint: Path) -> Toy:
    engine = TorchEngine(load_student(checkpoint), threads=1, tuned=False)  # the very kernels that are exported
    clip = read_clip(sample_clip(), "blackswan", frames=FRAMES)
    return Toy(checkpoint, engine, clip, record_inputs(engine, clip, (SIZE,)))


@pytest.fixture(scope="session")
def built(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of the toy at one size."""
    from converters.build import build
    from converters.registry import open_target

    out = tmp_path_factory.mktemp("dist") / "ios"
    options = BuildOptions(checkpoint=toy.checkpoint, out=out, sizes=(SIZE,), accuracy_frames=FRAMES, workers=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DATA_VARIABLE, str(out / "none"))
        return build(open_target("coreml"), options, Reporter())
