"""What the targets with one program for each graph share: capture at one size, counting, a folder of programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from converters.capture import CapturedGraph, capture_module
from converters.executorch.one_size import at_one_size
from converters.target import Target
from sam2lite_mobile import contract
from sam2lite_mobile.contract import GraphSpec
from sam2lite_mobile.engines.delegated_program import parse_program, read_program
from sam2lite_mobile.errors import ConversionError, explain
from sam2lite_mobile.package.executorch import write_executorch_programs
from sam2lite_mobile.package.executorch_program import BACKENDS, interface_faults
from sam2lite_mobile.package.files import write_file
from sam2lite_mobile.package.manifest import Manifest
from sam2lite_mobile.package.publish import publish_models
from sam2lite_mobile.package.templates import repository_root
from sam2lite_mobile.student.student import Student


class SinglePrograms(Target):
    """`<graph id>.pte`, each one call of the delegate. readme: of the package, in executorch_demo/."""

    source_folders = ("converters", "sam2lite_mobile", "executorch_demo")
    suffix = ".pte"
    readme: ClassVar[str]

    def capture(self, student: Student, spec: GraphSpec, *, bank_tokens: int) -> CapturedGraph:
        """The graph as the student has it, with the tables of its own size alone."""
        module = at_one_size(student.graph(spec.graph), spec.size or contract.FULL_SIZE)
        return capture_module(module, spec, bank_tokens=bank_tokens)

    def lowering(self, graph: CapturedGraph, path: Path) -> Mapping[str, float]:
        """Calls of the delegate, operations outside of it, and tensors at the border that are not the contract's."""
        program = read_program(path)
        foreign = [name for name in program.backends if name != BACKENDS[self.runtime]]
        return {
            "delegate_calls": len(program.backends),
            "operations_outside": sum(program.outside.values()) + len(foreign),
            "interface_faults": len(interface_faults(program, graph.spec)),
        }

    def publish(
        self, target: Path, *, models: Mapping[str, Path], manifest: Manifest, model_card: Path, licence: Path
    ) -> None:
        """A folder of programs; see `write_executorch_programs`."""
        readme = repository_root() / "executorch_demo" / self.readme
        texts = {"readme": readme, "model_card": model_card, "licence": licence}
        publish_models(target, write_executorch_programs, models=models, manifest=manifest, **texts)


def write_program(path: Path, data: bytes, spec: GraphSpec) -> None:
    """Write a lowered program. Raises ConversionError, tensor by tensor, where its border is not the contract's."""
    faults = interface_faults(parse_program(data, where=spec.id), spec)
    if faults:
        raise ConversionError(
            explain(
                f"{spec.id}: tensors of the program",
                expected="those of the contract, row-major",
                got="; ".join(faults[:4]),
                do="capture the graph with the contract's tensors",
            )
        )
    write_file(path, data)
