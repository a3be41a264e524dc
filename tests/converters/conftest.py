"""A student small enough to convert in a second, what several tests need of it, made once, and a package of it."""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from converters.calibration import calibration_path
from converters.capture import CapturedGraph, capture
from converters.options import BuildOptions, Reporter
from converters.recording import Tensors, record_inputs
from sam2lite_mobile import contract
from sam2lite_mobile.engines.torch_engine import TorchEngine, default_checkpoint
from sam2lite_mobile.evaluation.datasets import DATA_VARIABLE, sample_clip
from sam2lite_mobile.evaluation.prompted_clip import PromptedClip, read_clip
from sam2lite_mobile.quantization.policy import precision_policy
from sam2lite_mobile.quantization.ranges import LayerRanges, observed_ranges
from sam2lite_mobile.student.checkpoint import checkpoint_hash, load_student, save_student
from sam2lite_mobile.student.config import StudentConfig
from sam2lite_mobile.student.student import Student

CONFIG = StudentConfig("toy", width=32, blocks=1, heads=2, decoder_layers=1, decoder_heads=4, decoder_hidden=64)
SIZE = 256
FRAMES = 24

Ranges = Mapping[str, LayerRanges]
Capture = Callable[[str], CapturedGraph]
TfliteConversion = tuple[CapturedGraph, bytes]


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
def ranges(toy: Toy) -> Ranges:
    """Ranges of the toy's layers over one call of each graph."""
    student = toy.student()
    engine = TorchEngine(student, threads=1, tuned=False)
    with observed_ranges(student, precision_policy("w8a8")) as found:
        for graph_id, inputs in toy.inputs.items():
            engine.run(graph_id, inputs)
    return found


@pytest.fixture(scope="session")
def captured(toy: Toy) -> Capture:
    """Gives a graph of the toy as it is traced, once; a conversion leaves it as it is, as in a build."""

    @functools.cache
    def captured_graph(graph: str) -> CapturedGraph:
        return capture(toy.student(), contract.graph_spec(graph, SIZE), bank_tokens=contract.BANK_TOKENS)

    return captured_graph


@pytest.fixture(scope="session")
def tflite_conversion(captured: Capture) -> Callable[[str], TfliteConversion]:
    """Gives a graph of the toy in TFLite, in float32, converted once: to be unpacked and edited."""
    from converters.tflite.export import export
    from converters.tflite.packing import pack

    @functools.cache
    def converted(graph: str) -> TfliteConversion:
        return captured(graph), pack(export(captured(graph)))

    return converted


def calibrated(toy: Toy, ranges: Ranges, folder: Path) -> Path:
    """The toy's checkpoint in a folder of its own, with a calibration beside it."""
    checkpoint = folder / "toy.safetensors"
    checkpoint.write_bytes(toy.checkpoint.read_bytes())
    layers = {
        name: {"input": [r.input.low, r.input.high], "output": [r.output.low, r.output.high]}
        for name, r in ranges.items()
    }
    content = {"checkpoint_sha256": checkpoint_hash(checkpoint), "recipe": "w8a8", "source": "test", "frames": 128}
    content |= {"seed": 0, "sequences": ["a"], "layers": layers}
    calibration_path(checkpoint).write_text(json.dumps(content))
    return checkpoint


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
