"""Running programs: interfaces, images, functions, observers, lifetimes, and a converted network."""

from __future__ import annotations

import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sam2lite_mobile.errors import ContractError, MissingBackendError, PackageError
from sam2lite_mobile.mlprogram import FeatureSpec, Program, ValueRanges, proto
from tests.mlprogram.building import ct, feeds, floats, integers, mb, save_program
from tests.repository import ROOT

SIZE = 8


def _snr_db(reference: np.ndarray, got: np.ndarray) -> float:
    reference = reference.astype(np.float64)
    return float(10 * np.log10(np.square(reference).sum() / np.square(reference - got).sum()))


class _Network(nn.Module):
    """A convolution, an attention block and an up-sampling path: one of each kind that the student has."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU6())
        self.norm = nn.LayerNorm(16, eps=1e-6)
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.widen, self.narrow = nn.Linear(16, 64), nn.Linear(64, 16)
        self.up = nn.ConvTranspose2d(16, 4, 2, 2)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.stem(image / 255 - 0.5).flatten(2).transpose(1, 2)
        y = self.norm(x)
        weights = torch.softmax(self.query(y) * 0.25 @ self.key(y).transpose(1, 2), -1)
        x = x + weights @ self.value(y)
        x = x + self.narrow(nn.functional.gelu(self.widen(x)))
        mask = self.up(x.transpose(1, 2).reshape(1, 16, SIZE // 2, SIZE // 2))
        return nn.functional.interpolate(mask, scale_factor=2.0, mode="bilinear"), x.mean(1)


@pytest.fixture(scope="module")
def network() -> _Network:
    torch.manual_seed(1)
    network = _Network().eval()
    network.stem[1].running_var.uniform_(0.5, 2.0)  # so that folding the norm matters
    return network


def _convert(network: nn.Module, folder: Path, *, half: bool = False, image: bool = False) -> Path:
    exported = torch.export.export(network, (torch.zeros(1, 3, SIZE, SIZE),)).run_decompositions({})
    model = ct.convert(
        exported,
        convert_to="mlprogram",
        inputs=[ct.ImageType(name="image", shape=(1, 3, SIZE, SIZE))] if image else None,
        outputs=[ct.TensorType(name="mask"), ct.TensorType(name="summary")],
        compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS17,
        skip_model_load=True,
    )
    model.author, model.license, model.version, model.short_description = "A", "B", "C", "D"
    path = folder / f"network_{half}_{image}.mlpackage"
    model.save(str(path))
    return path


@pytest.fixture(scope="module")
def packages(network: _Network, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("network")
    return {
        "fp32": _convert(network, folder),
        "fp16": _convert(network, folder, half=True),
        "image": _convert(network, folder, image=True),
    }


@pytest.fixture
def frame(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)


def _planes(frame: np.ndarray) -> np.ndarray:
    return frame.transpose(2, 0, 1)[None].astype(np.float32)


def _eager(network: _Network, frame: np.ndarray) -> dict[str, np.ndarray]:
    with torch.no_grad():
        mask, summary = network(torch.from_numpy(_planes(frame)))
    return {"mask": mask.numpy(), "summary": summary.numpy()}


@pytest.mark.parametrize("precision", ["declared", "fp32", "pessimistic"])
def test_fp32_package_matches_torch_beyond_100_db(network, packages, frame, precision) -> None:
    got = Program(packages["fp32"], precision=precision).run({"image": _planes(frame)})
    for name, reference in _eager(network, frame).items():
        assert _snr_db(reference, got[name]) > 100


def test_fp16_package_loses_more_with_each_step_of_rounding(network, packages, frame) -> None:
    reference = _eager(network, frame)["mask"]
    db = {}
    for precision in ("fp32", "declared", "pessimistic"):
        got = Program(packages["fp16"], precision=precision).run({"image": _planes(frame)})
        db[precision] = _snr_db(reference, got["mask"])
    assert 90 > db["fp32"] > db["declared"] > db["pessimistic"] > 40


def test_interface_is_read_from_the_package(packages) -> None:
    program = Program(packages["image"])
    assert program.inputs == (FeatureSpec("image", (1, 3, SIZE, SIZE), "fp32", "RGB"),)
    assert program.inputs[0].is_image
    assert [(spec.name, spec.shape) for spec in program.outputs] == [
        ("mask", (1, 4, 2 * SIZE, 2 * SIZE)),
        ("summary", (1, 16)),
    ]
    metadata = program.metadata
    assert (metadata.author, metadata.license, metadata.version, metadata.description) == ("A", "B", "C", "D")
    assert program.op_counts()["linear"] == 5


def test_image_input_takes_bytes_or_planes_alike(network, packages, frame) -> None:
    program = Program(packages["image"])
    from_bytes, from_planes = program.run({"image": frame}), program.run({"image": _planes(frame)})
    np.testing.assert_array_equal(from_bytes["mask"], from_planes["mask"])
    assert _snr_db(_eager(network, frame)["mask"], from_bytes["mask"]) > 100


@pytest.mark.parametrize(
    "change",
    [
        lambda planes: planes + 0.5,
        lambda planes: planes - 256,
        lambda planes: planes + 256,
        lambda planes: planes * np.nan,
        lambda planes: planes.astype(np.float64),
        lambda planes: planes[0],
        lambda planes: planes[..., :-1],
        lambda planes: planes.transpose(0, 2, 3, 1),
    ],
)
def test_image_input_refuses_anything_else(packages, frame, change) -> None:
    with pytest.raises(ContractError, match="input image"):
        Program(packages["image"]).run({"image": change(_planes(frame))})


def test_outputs_belong_to_the_caller(packages, frame) -> None:
    program = Program(packages["fp32"])
    first = program.run({"image": _planes(frame)})
    kept = first["mask"].copy()
    first["summary"][:] = 7
    second = program.run({"image": np.zeros_like(_planes(frame))})
    np.testing.assert_array_equal(first["mask"], kept)
    assert not np.array_equal(second["mask"], kept)
    np.testing.assert_array_equal(program.run({"image": _planes(frame)})["mask"], kept)


def test_inputs_are_not_written_and_may_be_read_only(tmp_path) -> None:
    program = Program(save_program(tmp_path, lambda a: mb.add(x=a, y=a), [floats(3)], half=True))
    values = np.array([0.1, 1e-9, 3.3], np.float32)
    values.flags.writeable = False
    program.run(feeds([values]))
    assert values[0] == np.float32(0.1)


def test_output_that_is_an_input_is_a_copy(tmp_path) -> None:
    program = Program(save_program(tmp_path, lambda a: mb.identity(x=a), [floats(3)]))
    values = floats(3)
    (got,) = program.run(feeds([values])).values()
    got[:] = 9
    assert values[0] != 9


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "expected \\['a'\\], got \\[\\]"),
        ({"a": floats(3), "b": floats(3)}, "pass exactly these names"),
        ({"a": floats(4)}, "expected \\(3,\\) fp32, got \\(4,\\) float32"),
        ({"a": np.array(["x", "y", "z"])}, "input a"),
    ],
)
def test_wrong_inputs_are_refused_by_name(tmp_path, tensors, message) -> None:
    program = Program(save_program(tmp_path, lambda a: mb.relu(x=a), [floats(3)]))
    with pytest.raises(ContractError, match=message):
        program.run(tensors)


def test_integer_input_refuses_fractions(tmp_path) -> None:
    program = Program(save_program(tmp_path, lambda a: mb.cast(x=a, dtype="fp32"), [integers(1, 2)]))
    (got,) = program.run({"a": np.array([3.0, -4.0])}).values()
    assert got.tolist() == [3.0, -4.0]
    with pytest.raises(ContractError, match="whole numbers"):
        program.run({"a": np.array([3.5, -4.0])})


def test_functions_of_one_package_run_by_name_and_share_weights(tmp_path) -> None:
    weight = floats(16, 16)
    descriptor = ct.utils.MultiFunctionDescriptor()
    for name, act in (("up", mb.relu), ("down", mb.tanh)):
        path = save_program(
            tmp_path,
            lambda a, act=act: act(x=mb.linear(x=a, weight=weight)),
            [floats(2, 16)],
            ios=18,
            file=f"{name}.mlpackage",
        )
        descriptor.add_function(str(path), src_function_name="main", target_function_name=name)
    descriptor.default_function_name = "down"
    both = tmp_path / "both.mlpackage"
    ct.utils.save_multifunction(descriptor, str(both))
    values = floats(2, 16, seed=3)
    product = values @ weight.T
    expected = {"up": np.maximum(product, 0), "down": np.tanh(product), None: np.tanh(product)}
    for name, want in expected.items():
        (got,) = Program(both, function=name).run(feeds([values])).values()
        np.testing.assert_allclose(got, want, atol=1e-5)
    with pytest.raises(PackageError, match="expected down, up, got sideways"):
        Program(both, function="sideways")


def test_observer_sees_every_floating_point_value_after_rounding(tmp_path) -> None:
    def build(a):
        return mb.square(x=mb.add(x=a, y=np.float16(1), name="shifted"), name="squared")

    program = Program(save_program(tmp_path, build, [floats(3)], half=True))
    ranges = ValueRanges()
    program.run({"a": np.array([-2, 0.1, 1], np.float32)}, observe=ranges)
    program.run({"a": np.array([0, 0.1, 3], np.float32)}, observe=ranges)
    tenth = float(np.float16(0.1))
    seen = []
    program.run({"a": np.array([0.1] * 3, np.float32)}, observe=lambda name, values: seen.append((name, values[0])))
    assert ranges.ranges() == {"a": (-2.0, 3.0), "shifted": (-1.0, 4.0), "squared": (1.0, 16.0)}
    assert [name for name, _ in seen] == ["a", "shifted", "squared"]
    assert seen[0][1] == tenth
    assert seen[1][1] == np.float16(1 + tenth)


def test_values_are_freed_after_their_last_use(tmp_path) -> None:
    def build(a):
        x = mb.sin(x=a, name="early")
        for _ in range(3):
            x = mb.cos(x=x)
        return mb.exp(x=x, name="late")

    program = Program(save_program(tmp_path, build, [floats(1000)]))
    alive: dict[str, weakref.ref] = {}
    still_there = []

    def watch(name, values):
        alive[name] = weakref.ref(values.base if values.base is not None else values)
        if name == "late":
            still_there.append(alive["early"]() is not None)

    program.run({"a": floats(1000)}, observe=watch)
    assert still_there == [False]


def test_operations_on_constants_run_once_at_load(tmp_path) -> None:
    def build(a):  # the reversed shape is known before anything runs
        return mb.reshape(x=a, shape=mb.reverse(x=mb.shape(x=a), axes=[0]))

    program = Program(save_program(tmp_path, build, [floats(2, 3)]))
    assert [step.op for step in program._plan.steps] == ["reshape"]
    (got,) = program.run({"a": floats(2, 3)}).values()
    np.testing.assert_array_equal(got, floats(2, 3).reshape(3, 2))


def test_coremltools_itself_is_never_imported(packages) -> None:
    code = (
        "import sys; from sam2lite_mobile.mlprogram import Program; "
        f"Program({str(packages['fp32'])!r}); sys.exit('coremltools' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_missing_coremltools_names_the_install_line(monkeypatch) -> None:
    monkeypatch.setattr(proto.importlib.util, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, proto._PRIVATE_NAME, raising=False)
    with pytest.raises(MissingBackendError, match=r"pip install 'sam2lite-mobile\[coreml\]'"):
        proto.new_model()
