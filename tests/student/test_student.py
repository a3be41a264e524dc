"""The five graphs: published sizes, the contract's names and shapes, and what a converter must not meet."""

import inspect

import pytest
import torch

from sam2lite_mobile import contract
from sam2lite_mobile.student.config import PRESETS, StudentConfig
from sam2lite_mobile.student.student import Student, build_student, example_inputs

SMALL = StudentConfig("small_test", width=16, blocks=1, heads=2, decoder_layers=1, decoder_heads=4, decoder_hidden=32)


@pytest.fixture(scope="module")
def student() -> Student:
    torch.manual_seed(0)
    return Student(SMALL).eval()


@pytest.mark.parametrize(("name", "millions"), [("tiny", 5.2), ("small", 12.8), ("base", 38.4)])
def test_encoder_has_the_published_number_of_parameters(name: str, millions: float) -> None:
    count = build_student(name).parameter_counts()["image_encoder"]
    assert abs(count / 1e6 - millions) <= 0.05 * millions


def test_nano_has_two_blocks_and_the_gate_its_documented_parameters() -> None:
    nano = build_student("nano")
    assert len(nano.image_encoder.blocks) == 2
    assert nano.parameter_counts()["token_gate"] == 515 * 128 + 128 + 128 * 64 + 64 + 64 + 1


@pytest.mark.parametrize("size", contract.SIZES)
@pytest.mark.parametrize("graph", contract.GRAPHS)
def test_graph_has_the_contract_names_and_shapes_at_every_size(student: Student, graph: str, size: int) -> None:
    spec = contract.graph_spec(graph, size)
    arguments = list(inspect.signature(student.graph(graph).forward).parameters)
    assert arguments == [tensor.name for tensor in spec.inputs]
    with torch.inference_mode():
        outputs = student.graph(graph)(**example_inputs(graph, size))
    shapes = [tuple(x.shape) for x in (outputs if isinstance(outputs, tuple) else (outputs,))]
    assert shapes == [tensor.shape for tensor in spec.outputs]


def test_one_set_of_weights_serves_all_sizes(student: Student) -> None:
    """No parameter or saved buffer depends on R: what is per size is constant and not in the checkpoint."""
    for name, value in student.state_dict().items():
        assert not any(str(size // contract.STRIDE) == part for size in contract.SIZES for part in name.split("_")), (
            name
        )
        assert value.numel() > 0


@pytest.mark.parametrize("embedding", ["conv", "plain"])
def test_both_patch_embeddings_give_the_contract_maps(embedding: str) -> None:
    config = StudentConfig("t", width=16, blocks=1, heads=2, patch_embed=embedding)  # type: ignore[arg-type]
    encoder = Student(config).image_encoder.eval()
    with torch.inference_mode():
        outputs = encoder(**example_inputs("image_encoder", 304))
    assert [tuple(x.shape) for x in outputs] == [t.shape for t in contract.graph_spec("image_encoder", 304).outputs]


@pytest.mark.parametrize("embedding", ["conv", "plain"])
def test_no_rank_above_four_in_any_graph(embedding: str) -> None:
    config = StudentConfig("t", width=16, blocks=1, heads=2, patch_embed=embedding)  # type: ignore[arg-type]
    student = Student(config).eval()
    for graph in contract.GRAPHS:
        examples = example_inputs(graph, 256, bank_tokens=128)
        program = torch.export.export(student.graph(graph), tuple(examples.values())).run_decompositions({})
        for node in program.graph.nodes:
            value = node.meta.get("val")
            if isinstance(value, torch.Tensor):
                assert value.dim() <= 4, f"{graph}: {node.name} has rank {value.dim()}"
                assert all(isinstance(n, int) for n in value.shape), f"{graph}: {node.name} is not static"


FORBIDDEN = ("scaled_dot_product", "bicubic", "_aa", "nonzero", "topk", "gather", "index_put", "native_group_norm")


def test_no_operation_that_a_converter_cannot_take(student: Student) -> None:
    for graph in contract.GRAPHS:
        examples = example_inputs(graph, 304, bank_tokens=128)
        program = torch.export.export(student.graph(graph), tuple(examples.values())).run_decompositions({})
        names = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
        assert not [name for name in names if any(word in name for word in FORBIDDEN)]


def test_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, second, other = build_student("nano", seed=1), build_student("nano", seed=1), build_student("nano", seed=2)
    assert torch.equal(before, torch.get_rng_state())
    a, b, c = (x.mask_decoder.queries for x in (first, second, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_configuration_that_cannot_be_built_is_refused() -> None:
    from sam2lite_mobile.errors import ContractError

    with pytest.raises(ContractError, match="width a multiple of heads"):
        StudentConfig("odd", width=17, blocks=1, heads=2)
    assert set(PRESETS) == {"nano", "tiny", "small", "base"}
