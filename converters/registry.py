"""The targets by name. Adding one is adding a folder with a `build` function and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from converters.options import BuildOptions, Reporter
from sam2lite_mobile.errors import ContractError, explain

Build = Callable[[BuildOptions, Reporter], Path]


@dataclass(frozen=True)
class Target:
    """A target: the module that holds `build(options, reporter) -> Path`, imported on use, and a line of help."""

    module: str
    help: str


TARGETS = {
    "coreml": Target("converters.coreml.build", "a SwiftPM package of ML Programs for iOS 17 and macOS 14 or later"),
}


def builder(name: str) -> Build:
    """The build function of a target. Raises ContractError for an unknown name."""
    if name not in TARGETS:
        raise ContractError(explain("target", expected=", ".join(TARGETS), got=name, do="choose one of these"))
    build: Build = import_module(TARGETS[name].module).build
    return build
