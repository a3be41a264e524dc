"""The error family of the toolkit: one base, and a message in four parts.

Every message says what was wrong, what was expected, what was got and what to do next. The command line
turns `Sam2LiteError` into one line on stderr: exit status 2 for a wrong call, 1 for a failed gate.
"""


class Sam2LiteError(Exception):
    """Base of all errors that a user of this package can meet. `exit_status` is what the command line returns."""

    exit_status = 2


class ContractError(Sam2LiteError):
    """A tensor, prompt or option breaks the contract: a shape, a dtype, a range, a name."""


class DataError(Sam2LiteError):
    """A file from outside (video, mask, checkpoint, package, JSON) is missing, broken or over a limit."""


class CheckpointError(DataError):
    """A checkpoint has unknown, missing or misshapen entries, or a configuration that is not understood."""


class PackageError(DataError):
    """A package or manifest was tampered with, is truncated, or is newer than this version understands."""

    exit_status = 1


class MissingBackendError(Sam2LiteError):
    """A runtime that is not installed was asked for. The message holds the install line."""


class ConversionError(Sam2LiteError):
    """A converter could not turn a graph into its target format."""

    exit_status = 1


class GateError(Sam2LiteError):
    """A measured value missed its limit: the message names graph, tensor or frame, measure and limit."""

    exit_status = 1


def explain(what: str, *, expected: object, got: object, do: str) -> str:
    """One line in the four parts that every message of this package has."""
    return f"{what}: expected {expected}, got {got}; {do}"
