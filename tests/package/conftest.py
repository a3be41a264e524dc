"""A tiny but complete package: every graph of the contract at one size, converted by coremltools' own builder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sam2lite_mobile import contract
from sam2lite_mobile.package.canonical import canonicalize_mlpackage
from sam2lite_mobile.package.publish import publish_ios
from tests.package.samples import SIZES, draft


@pytest.fixture(scope="session")
def convert() -> Callable[[contract.GraphSpec, Path], Path]:
    """Convert a stand-in for one graph of the contract and save it at a path, as coremltools writes it.

    Its outputs are sums of its inputs, spread over the output's shape, plus a constant that lands in weight.bin.
    """
    ct = pytest.importorskip("coremltools", reason="needs coremltools: pip install 'sam2lite-mobile[coreml]'")
    np = pytest.importorskip("numpy")
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil import Function, Program

    def convert_spec(spec: contract.GraphSpec, path: Path) -> Path:
        program = Program()
        placeholders = {tensor.name: mb.placeholder(shape=tensor.shape) for tensor in spec.inputs}
        with Function(placeholders, opset_version=ct.target.iOS17) as function:
            total = mb.const(val=np.float32(1))
            for tensor in function.inputs.values():
                total = mb.add(x=total, y=mb.reduce_sum(x=tensor, keep_dims=False))
            outputs = []
            for tensor in spec.outputs:
                one = mb.reshape(x=total, shape=[1] * len(tensor.shape))
                ramp = np.arange(tensor.shape[-1], dtype=np.float32).reshape([1] * (len(tensor.shape) - 1) + [-1])
                outputs.append(mb.add(x=mb.tile(x=one, reps=tensor.shape), y=ramp, name=tensor.name))
            function.set_outputs(outputs)
        program.add_function("main", function)
        model = ct.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS17,
            skip_model_load=True,
            inputs=[
                ct.ImageType(name=t.name, shape=t.shape, color_layout=ct.colorlayout.RGB)
                if t.name == "image"
                else ct.TensorType(name=t.name, shape=t.shape, dtype=np.float32)
                for t in spec.inputs
            ],
            outputs=[ct.TensorType(name=t.name, dtype=np.float32) for t in spec.outputs],
        )
        model.save(str(path))
        return path

    return convert_spec


@pytest.fixture(scope="session")
def models(convert: Callable[[contract.GraphSpec, Path], Path], tmp_path_factory: pytest.TempPathFactory):
    """Graph id -> canonical .mlpackage."""
    folder = tmp_path_factory.mktemp("models")
    made = {}
    for spec in contract.all_graph_specs(SIZES):
        made[spec.id] = convert(spec, folder / f"{spec.id}.mlpackage")
        canonicalize_mlpackage(made[spec.id])
    return made


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model card and licence, as keyword arguments of publish_ios."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "card.md").write_text("# Model card\n")
    (folder / "licence").write_text("Apache-2.0\n")
    return {"model_card": folder / "card.md", "licence": folder / "licence"}


@pytest.fixture(scope="session")
def published(models, texts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published package. Tests that change it work on a copy: see `package`."""
    return publish_ios(tmp_path_factory.mktemp("dist") / "ios", models=models, manifest=draft(), **texts)


@pytest.fixture
def package(published: Path, tmp_path: Path) -> Path:
    """A copy of the published package, to be tampered with."""
    return shutil.copytree(published, tmp_path / "ios")
