"""An interpreter of Core ML ML Programs: executes a saved `.mlpackage` on any CPU, without Core ML.

It makes "convert, run what was written, compare" possible on every machine. Needs torch and the protobuf classes of
coremltools; `import coremltools` never runs.
"""

from sam2lite_mobile.mlprogram.interpreter import Observer, Program, ValueRanges
from sam2lite_mobile.mlprogram.package import FeatureSpec, Metadata, Package
from sam2lite_mobile.mlprogram.precision import Events, Precision, Report

__all__ = [
    "Events",
    "FeatureSpec",
    "Metadata",
    "Observer",
    "Package",
    "Precision",
    "Program",
    "Report",
    "ValueRanges",
]
