"""Training on a device other than the CPU: no tensor of a step is left behind there, and the numbers stay the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sam2lite_mobile.evaluation.selection import Selection
from sam2lite_mobile.training.clip_forward import ClipForward, ClipOutcome
from sam2lite_mobile.training.distillation import ReadoutProjection
from sam2lite_mobile.training.forward_settings import ForwardSettings
from sam2lite_mobile.training.lessons import STUDENT_READOUT_WIDTH, lessons_of
from sam2lite_mobile.training.processes import Processes
from sam2lite_mobile.training.run import CHECKPOINT_NAME, STATE_NAME, Run
from sam2lite_mobile.training.samples import sample_sheet
from sam2lite_mobile.training.teachers.own import OwnTeacher
from tests.training.far_device import FAR, FarDevice, FarTensor, far_constructor
from tests.training.short_runs import assert_same_entries, moving_square, short_recipe, small_student

CPU = torch.device("cpu")
PROMPTED = ForwardSettings(prompt_share=1, prompted_memory_share=1, correction_share=1, prune_share=1)


@pytest.fixture(autouse=True)
def _far(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Iterator[None]:
    """The far device is there. Autocast knows no such device, and nothing here computes bfloat16."""
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: nullcontext())
    monkeypatch.setattr(torch, "tensor", far_constructor(torch.tensor))
    with FarDevice():  # type: ignore[no-untyped-call]
        yield


def step(settings: ForwardSettings, device: torch.device, *, taught: bool) -> tuple[ClipOutcome, dict[str, Tensor]]:
    """Outcome and gradients of a step of one clip, from the same draws on every device."""
    student, batch = small_student().to(device), moving_square(frames=3, hidden=(1,)).to(device)
    projection = lessons = None
    if taught:
        teacher = OwnTeacher(small_student(1).to(device), weights_hash="00")
        projection = ReadoutProjection(STUDENT_READOUT_WIDTH, teacher.readout_width).to(device)
        lessons = lessons_of(teacher, batch)
    forward = ClipForward(student, settings, bfloat16=False, projection=projection)
    outcome = forward(batch, torch.Generator().manual_seed(3), progress=0.5, lessons=lessons)
    outcome.loss.backward()  # type: ignore[no-untyped-call]
    return outcome, {name: p.grad for name, p in student.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("settings", "taught"),
    [
        pytest.param(PROMPTED, False, id="pair"),
        pytest.param(replace(PROMPTED, memory="bank"), True, id="bank, gate, taught"),
        pytest.param(ForwardSettings(memory="bank", selection=Selection.SIMPLE, explore=False), False, id="bank, rule"),
        pytest.param(ForwardSettings(quantize="w8a8"), False, id="quantized"),
    ],
)
def test_step_stays_on_its_device_and_gives_the_same_numbers(settings: ForwardSettings, taught: bool) -> None:
    near, near_gradients = step(settings, CPU, taught=taught)
    far, far_gradients = step(settings, FAR, taught=taught)
    assert far.parts == near.parts
    assert isinstance(far.predictions, FarTensor)
    assert torch.equal(far.predictions.cpu(), near.predictions)
    assert far_gradients.keys() == near_gradients.keys() != set()
    for name, gradient in far_gradients.items():
        assert isinstance(gradient, FarTensor), name
        assert torch.equal(gradient.cpu(), near_gradients[name]), name


@pytest.mark.slow
def test_run_on_another_device_saves_the_same_bits(tmp_path: Path) -> None:
    for device in (CPU, FAR):
        processes = Processes()
        processes.device = device
        run = Run(short_recipe(precision="fp32"), tmp_path / device.type, processes=processes)
        run.folder.mkdir()
        batch = moving_square(frames=2)
        outcome = run.advance(batch)
        assert sample_sheet(batch, outcome.predictions.cpu())
        run.save()
    for name in (STATE_NAME, CHECKPOINT_NAME):
        assert_same_entries(tmp_path / CPU.type / name, tmp_path / FAR.type / name)


def test_far_device_refuses_what_a_gpu_refuses() -> None:
    far, near = torch.ones(2).to(FAR), torch.ones(2)
    assert (far * torch.tensor(3.0)).sum().item() == 6
    assert torch.zeros(2, device=FAR).add(far).cpu().tolist() == [1, 1]
    with pytest.raises(RuntimeError, match=r"a tensor of \(2,\) is on the CPU"):
        far + near
    with pytest.raises(RuntimeError, match="not supported"):
        far.numpy()
    assert (far.cpu() + near + torch.tensor([1, 2], device=FAR).cpu()).tolist() == [3, 4]
