"""Every operation that the interpreter knows, in its forms, against torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sam2lite_mobile.mlprogram import Program
from sam2lite_mobile.mlprogram.ops import OPERATIONS
from tests.mlprogram import cases_elementwise, cases_network, cases_tensor
from tests.mlprogram.building import Case, as_tensor, feeds, save_program

CASES = [*cases_elementwise.CASES, *cases_network.CASES, *cases_tensor.CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_operation_computes_what_torch_computes(case: Case, tmp_path: Path) -> None:
    program = Program(save_program(tmp_path, case.build, case.inputs, ios=case.ios))
    assert case.op in program.op_counts()  # the builder did not fold it away
    (got,) = program.run(feeds(case.inputs)).values()
    want = case.reference(*[as_tensor(array) for array in case.inputs]).to(torch.float32).numpy()
    assert got.dtype == np.float32
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=case.tolerance, atol=case.tolerance)


def test_every_known_operation_has_a_case() -> None:
    assert {case.op for case in CASES} == set(OPERATIONS)


def test_case_names_are_unique() -> None:
    names = [case.id for case in CASES]
    assert len(names) == len(set(names))
