"""The torch engine: the student itself, in float32 on the CPU. Every other engine is compared with this one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sam2lite_mobile import contract
from sam2lite_mobile.engines.denormals import flushed_denormals
from sam2lite_mobile.engines.torch_tuning import tuned_graph
from sam2lite_mobile.errors import ContractError, MissingBackendError, explain
from sam2lite_mobile.runtime.engine import EngineDescription
from sam2lite_mobile.student.checkpoint import load_student
from sam2lite_mobile.student.student import Student

DEFAULT_STUDENT = "nano"


def default_checkpoint(student: str = DEFAULT_STUDENT) -> Path:
    """Path of a shipped checkpoint. Raises MissingBackendError where the repository's assets are not at hand."""
    path = Path(__file__).resolve().parents[2] / "assets" / "weights" / f"{student}.safetensors"
    if not path.is_file():
        raise MissingBackendError(
            explain(
                f"default weights of {student}",
                expected=f"assets/weights/{student}.safetensors in the repository",
                got="no such file",
                do="pass --checkpoint FILE, or work from a checkout of the repository",
            )
        )
    return path


class TorchEngine:
    """Runs the graphs of a student eagerly.

    `threads` is set for the whole process (torch has one pool); None leaves torch's setting as it is. `tuned` runs
    copies that are faster on a CPU and equal up to rounding, and counts denormals as zero; without it the student's own
    modules run, as they are exported. What changes the student later is seen by the plain engine only.
    """

    def __init__(
        self,
        student: Student,
        *,
        bank_tokens: int = contract.BANK_TOKENS,
        threads: int | None = None,
        detail: str = "",
        tuned: bool = True,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        student.eval()
        self._graphs = {name: tuned_graph(student, name) if tuned else student.graph(name) for name in contract.GRAPHS}
        self._tuned = tuned
        self._bank_tokens = bank_tokens
        self._detail = detail or student.config.name
        self._specs = {spec.id: spec for spec in contract.all_graph_specs(contract.SIZES, bank_tokens=bank_tokens)}

    @classmethod
    def from_checkpoint(
        cls, path: Path | None = None, *, bank_tokens: int = contract.BANK_TOKENS, threads: int | None = None
    ) -> TorchEngine:
        """Engine of a checkpoint; None takes the default student of the repository."""
        chosen = path or default_checkpoint()
        student = load_student(chosen)
        detail = f"{student.config.name} ({chosen.name})"
        return cls(student, bank_tokens=bank_tokens, threads=threads, detail=detail)

    @property
    def bank_tokens(self) -> int:
        """Bank budget B that the runtime has to keep."""
        return self._bank_tokens

    @property
    def sizes(self) -> tuple[int, ...]:
        """All six sizes: one set of weights serves them."""
        return contract.SIZES

    def load(self, graph_ids: Iterable[str]) -> None:
        """Check the ids; the weights are in memory already."""
        for graph_id in graph_ids:
            self._spec(graph_id)

    def warm_up(self, size: int) -> None:
        """Run every graph of a size once on zeros."""
        for graph in contract.GRAPHS:
            spec = contract.graph_spec(graph, size, bank_tokens=self._bank_tokens)
            self.run(spec.id, {t.name: np.zeros(t.shape, np.float32) for t in spec.inputs})

    def run(self, graph_id: str, tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Outputs of a graph by name, float32. Raises ContractError for an unknown graph or misshapen inputs."""
        spec = self._spec(graph_id)
        for tensor in spec.inputs:
            array = tensors.get(tensor.name)
            if array is None or array.shape != tensor.shape or array.dtype != np.float32:
                got = "nothing" if array is None else f"{array.shape} {array.dtype}"
                raise ContractError(
                    explain(
                        f"{graph_id} {tensor.name}",
                        expected=f"{tensor.shape} float32",
                        got=got,
                        do="check the input size and the bank budget",
                    )
                )
        return self.run_any_memory(graph_id, tensors)

    def run_any_memory(
        self, graph_id: str, tensors: Mapping[str, NDArray[np.float32]]
    ) -> dict[str, NDArray[np.float32]]:
        """Outputs of a graph by name, as `run` gives them, where memory may hold any number of tokens.

        Shapes are the caller's to check. Raises ContractError for an unknown graph.
        """
        spec = self._spec(graph_id)
        arguments = {}
        for tensor in spec.inputs:
            array = tensors[tensor.name]
            writable = array if array.flags.writeable else array.copy()  # torch warns of read-only memory
            arguments[tensor.name] = torch.from_numpy(np.ascontiguousarray(writable))
        with torch.inference_mode(), flushed_denormals() if self._tuned else nullcontext():
            outputs = self._graphs[spec.graph](**arguments)
        results = outputs if isinstance(outputs, tuple) else (outputs,)
        return {t.name: np.ascontiguousarray(x.numpy()) for t, x in zip(spec.outputs, results, strict=True)}

    def describe(self) -> EngineDescription:
        """torch's version, fp32 and its number of threads."""
        return EngineDescription("torch", "fp32", torch.get_num_threads(), str(torch.__version__), self._detail)

    def _spec(self, graph_id: str) -> contract.GraphSpec:
        spec = self._specs.get(graph_id)
        if spec is None:
            raise ContractError(
                explain("graph", expected=", ".join(self._specs), got=graph_id, do="use contract.graph_id")
            )
        return spec
